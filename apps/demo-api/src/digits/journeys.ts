import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import type { BatchEvent, DispatchReason, InputEvent } from 'nest-batching';

/** How one input travelled. All times are milliseconds. */
export interface Journey {
  /** The number of its batch in its queue. */
  batch: number;
  /** Inputs in that batch. */
  size: number;
  /** Its place among them, from 0. */
  place: number;
  /** Why the batch left. */
  reason: DispatchReason;
  waited: number;
  ran: number;
}

/**
 * Tells callers how their inputs travelled, from the events that every queue publishes (docs/events.md). All inputs are listened
 * to, as the place of one can only be known among the others.
 */
@Injectable()
export class Journeys implements OnModuleInit, OnApplicationShutdown {
  /** Inputs that are submitted now, if somebody asks for their journeys. */
  #submitted: InputEvent[] | undefined;
  readonly #journeys = new WeakMap<InputEvent, Journey>();

  readonly #onSubmit = (message: unknown) => {
    const input = message as InputEvent;
    if (!this.#submitted) return;
    this.#submitted.push(input);
    this.#journeys.set(input, { batch: 0, size: 0, place: 0, reason: 'idle', waited: 0, ran: 0 });
  };

  readonly #onEnd = (message: unknown) => {
    const { number: batch, inputs, waits, size, reason, report } = message as BatchEvent;
    inputs.forEach((input, place) => {
      const journey = this.#journeys.get(input);
      if (!journey) return;
      Object.assign(journey, { batch, size, place, reason, waited: waits[place], ran: report?.ran });
    });
  };

  onModuleInit(): void {
    subscribe('nest-batching:input:submit', this.#onSubmit);
    subscribe('nest-batching:batch:end', this.#onEnd);
  }

  onApplicationShutdown(): void {
    unsubscribe('nest-batching:input:submit', this.#onSubmit);
    unsubscribe('nest-batching:batch:end', this.#onEnd);
  }

  /** @returns the results with the journeys of their inputs, which `submit` submits at once */
  async follow<R>(submit: () => Promise<R>[]): Promise<(R & { journey: Journey })[]> {
    const submitted: InputEvent[] = (this.#submitted = []);
    let answers: Promise<R>[];
    try {
      answers = submit();
    } finally {
      this.#submitted = undefined;
    }
    const results = await Promise.all(answers);
    return results.map((result, index) => {
      const input = submitted[index];
      const journey = input && this.#journeys.get(input);
      if (!journey) throw new Error(`input ${index} has no journey`);
      return { ...result, journey };
    });
  }
}
