import { ApiError, CONFIGURATION } from '@app/serving';
import { type BeforeApplicationShutdown, Inject, Injectable } from '@nestjs/common';
import { type Batched, InjectBatched } from 'nest-batching';
import type { Configuration } from '../configuration.js';
import { loadTestDigits } from '../digits/mnist.js';
import { FIRST_WARM_UP, type LaneResult, runLane, STEP, TIME, WARM_UP } from './lane-run.js';
import { RaceLanes } from './race-lanes.js';

export const LANES = ['oneByOne', 'batched'] as const;
export type LaneName = (typeof LANES)[number];

export interface RaceProgress {
  lane: LaneName;
  /** Milliseconds of the lane's time that are over. */
  elapsed: number;
  /** Milliseconds that a lane takes. */
  time: number;
  /** Digits that it has read so far. */
  digits: number;
}

export interface RaceResult {
  callers: number;
  /** Milliseconds that each lane was measured. */
  time: number;
  /** Milliseconds between two numbers of `read`. */
  step: number;
  oneByOne: LaneResult;
  batched: LaneResult;
  /** The rate of `batched` divided by that of `oneByOne`. */
  ratio: number;
}

/** Measures what batching brings: both lanes, one after the other, so that neither takes the network from the other. */
@Injectable()
export class Race implements BeforeApplicationShutdown {
  readonly #shutdown = new AbortController();
  /** When the race that runs will be over. */
  #endsAt: number | undefined;
  /** Of the next race's first lane. */
  #warmUp = FIRST_WARM_UP;

  constructor(
    @InjectBatched(RaceLanes) private readonly lanes: Batched<RaceLanes>,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /**
   * Runs a race. There is one at a time: two would halve each other's rates.
   *
   * @throws {ApiError} 409 while another one runs
   */
  async run(
    callers: number,
    signal: AbortSignal,
    onProgress: (progress: RaceProgress) => void,
  ): Promise<RaceResult> {
    this.#begin();
    try {
      const pictures = (await loadTestDigits()).map(({ pixels }) => pixels);
      const either = AbortSignal.any([signal, this.#shutdown.signal]);
      const run = (name: LaneName, warmUp: number) => {
        either.throwIfAborted();
        onProgress({ lane: name, elapsed: 0, time: TIME, digits: 0 });
        return runLane({
          lane: this.lanes[name],
          pictures,
          callers,
          warmUp,
          signal: either,
          onProgress: (elapsed, digits) => {
            onProgress({ lane: name, elapsed: Math.round(elapsed), time: TIME, digits });
          },
        });
      };
      const oneByOne = await run('oneByOne', this.#warmUp);
      this.#warmUp = WARM_UP;
      const batched = await run('batched', WARM_UP);
      const ratio = oneByOne.digits === 0 ? 0 : batched.digits / oneByOne.digits;
      return { callers, time: TIME, step: STEP, oneByOne, batched, ratio };
    } finally {
      this.#endsAt = undefined;
    }
  }

  /** The server waits for answers that have not ended before it closes. */
  beforeApplicationShutdown(): void {
    this.#shutdown.abort(new ApiError(503, 'ERR_STOPPING', 'the server is shutting down'));
  }

  #begin(): void {
    const now = performance.now();
    if (this.#endsAt !== undefined) {
      const seconds = Math.max(1, Math.ceil((this.#endsAt - now) / 1000));
      throw new ApiError(409, 'ERR_RACE_RUNNING', `another race is run, for about ${seconds} s more`, {
        details: { seconds },
        retryAfter: seconds,
      });
    }
    this.#endsAt = now + this.#warmUp + TIME + WARM_UP + TIME;
    const { batchSize, maxDelay, dispatch } = this.configuration;
    const queues = { oneByOne: this.lanes.oneByOne.queue, batched: this.lanes.batched.queue };
    // The dashboard may have changed them.
    Object.assign(queues.oneByOne, { batchSize: 1, maxDelay });
    Object.assign(queues.batched, { batchSize, maxDelay });
    for (const queue of Object.values(queues)) queue.setDispatch(dispatch);
  }
}
