import type { KeyedBatchFunction } from '../core/batch-function.js';
import { BatchQueue } from '../core/batch-queue.js';
import { checkCount, checkMilliseconds, functionName } from '../core/checks.js';
import type { BatchOptions, SubmitOptions } from '../core/options.js';
import { ManualClock } from './manual-clock.js';
import { type RecordedBatch, Recorder } from './recorded-batches.js';

/** Options of a `ManualQueue`. When a batch leaves is not among them. */
export type ManualQueueOptions<Input = unknown> = Omit<
  BatchOptions<Input>,
  'batchSize' | 'maxDelay' | 'dispatch' | 'autoStart'
> & {
  /** Most inputs in one batch: an integer ≥ 1, or `Infinity`. Default `Infinity`. */
  batchSize?: number;
};

/**
 * A `BatchQueue` for tests: batches leave when the test says so, and time stands still. All else is as in an
 * application: bounds, groups, keys, priorities, errors, stats.
 *
 * ```ts
 * const queue = new ManualQueue((xs: number[]) => xs.map((x) => x * x));
 * const results = [queue.submit(2), queue.submit(3)];
 * await queue.dispatch();
 * await Promise.all(results); // [4, 9]
 * queue.batches; // [{ inputs: [2, 3], size: 2, reason: 'drain' }]
 * ```
 */
export class ManualQueue<Input, Result> extends BatchQueue<Input, Result> {
  /** What the batch function was given so far, in the order of the calls. */
  readonly batches: readonly RecordedBatch<Input>[];
  readonly #clock: ManualClock;
  #onSubmit: (() => void) | undefined;
  #submitted: Promise<void> | undefined;

  /** @throws TypeError or RangeError for an invalid option */
  constructor(
    batchFunction: KeyedBatchFunction<Input, Result>,
    { batchSize = Infinity, ...options }: ManualQueueOptions<Input> = {},
  ) {
    const clock = new ManualClock();
    const recorder = new Recorder<Input>();
    const name = functionName(Object(batchFunction) as typeof batchFunction, 'manual queue');
    const self: { queue?: BatchQueue<Input, Result> } = {};
    const record: KeyedBatchFunction<Input, Result> = (inputs, batch) => {
      recorder.record(inputs, self.queue);
      return batchFunction(inputs, batch);
    };
    const rest = { dispatch: 'fixed', maxDelay: Infinity, autoStart: true } as const;
    // What is no function is refused by the queue.
    const run: unknown = typeof (batchFunction as unknown) === 'function' ? record : batchFunction;
    super(run as never, { name, ...options, batchSize, ...rest }, clock);
    self.queue = this;
    this.batches = recorder.batches;
    this.#clock = clock;
  }

  override submit(input: Input, options?: SubmitOptions): Promise<Result> {
    const result = super.submit(input, options);
    this.#onSubmit?.();
    this.#submitted = this.#onSubmit = undefined;
    return result;
  }

  /** @returns a promise that resolves at the next submission, whatever becomes of the input */
  submitted(): Promise<void> {
    return (this.#submitted ??= new Promise((resolve) => (this.#onSubmit = resolve)));
  }

  /**
   * Sends off what waits, in batches of at most `batchSize`. Inputs that come meanwhile may travel along while there is
   * room in these batches, as with `drain()`.
   *
   * @param expected waits until so many inputs wait, for code that submits after awaiting something else. Default 0
   * @returns a promise of the batches that ran, when all inputs that waited have ended
   */
  async dispatch(expected = 0): Promise<RecordedBatch<Input>[]> {
    checkCount('expected', expected, 0);
    while (this.stats().waiting < expected) await this.submitted();
    const { length } = this.batches;
    await this.drain();
    return this.batches.slice(length);
  }

  /** Lets time pass, for `timeout` and `runTimeout`: nothing else depends on it. `ms`: milliseconds ≥ 0, and finite. */
  advance(ms: number): void {
    this.#clock.advance(Math.min(checkMilliseconds('ms', ms), Number.MAX_SAFE_INTEGER));
  }

  override async drain(): Promise<void> {
    const drained = super.drain();
    this.#clock.release();
    await drained;
    this.#clock.hold();
  }
}
