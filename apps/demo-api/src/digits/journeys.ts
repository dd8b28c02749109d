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

interface Departure {
  readonly batch: BatchEvent;
  readonly place: number;
  /** By the clock of `performance.now()`. */
  readonly at: number;
}

/**
 * Tells callers how their inputs travelled, from the events that every queue publishes (docs/events.md). All inputs are listened
 * to, as the place of one can only be known among the others.
 */
@Injectable()
export class Journeys implements OnModuleInit, OnApplicationShutdown {
  /** Inputs that are submitted now, if somebody asks for their journeys. */
  #submitted: InputEvent[] | undefined;
  readonly #followed = new WeakSet<InputEvent>();
  readonly #departures = new WeakMap<InputEvent, Departure>();

  readonly #onSubmit = (message: unknown) => {
    const input = message as InputEvent;
    if (!this.#submitted) return;
    this.#submitted.push(input);
    this.#followed.add(input);
  };

  readonly #onStart = (message: unknown) => {
    const batch = message as BatchEvent;
    const at = performance.now();
    batch.inputs.forEach((input, place) => {
      if (this.#followed.has(input)) this.#departures.set(input, { batch, place, at });
    });
  };

  onModuleInit(): void {
    subscribe('nest-batching:input:submit', this.#onSubmit);
    subscribe('nest-batching:batch:start', this.#onStart);
  }

  onApplicationShutdown(): void {
    unsubscribe('nest-batching:input:submit', this.#onSubmit);
    unsubscribe('nest-batching:batch:start', this.#onStart);
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
    return Promise.all(
      answers.map(async (answer, index) => {
        const result = await answer;
        const departure = submitted[index] && this.#departures.get(submitted[index]);
        if (!departure) throw new Error(`input ${index} has no journey`);
        return { ...result, journey: describe(departure) };
      }),
    );
  }
}

/** To be called when the input has its result. */
function describe({ batch: { number: batch, size, reason, waits, report }, place, at }: Departure): Journey {
  // A batch that is run again in parts, without the inputs that fail, has not ended when the first of them have results.
  const ran = report?.ran ?? performance.now() - at;
  return { batch, size, place, reason, waited: waits[place] ?? 0, ran };
}
