import { BatchQueue } from './batch-queue.js';
import type { BatchFunction, KeyedBatchFunction } from './batch-function.js';
import type { Keyed, QueueOptions, StopOptions, SubmitOptions } from './options.js';
import { type SerialOptions, SerialQueue } from './serial-queue.js';

/** A queue that is called like a function: takes one input, and returns a promise of its result. */
export interface BatchedService<Input, Result> {
  (input: Input, options?: SubmitOptions): Promise<Result>;
  /** The same as a call of the service itself. */
  submit(input: Input, options?: SubmitOptions): Promise<Result>;
  /**
   * Submits many inputs at once; returns one promise per input, in their order. See `BatchQueue.submitMany`.
   */
  submitMany(inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[];
  /** The queue behind the service: settings, stats, `onBatch`. */
  readonly queue: BatchQueue<Input, Result>;
  /** Lets batches leave, after `autoStart: false`. See `BatchQueue.start`. */
  start(): void;
  /** Resolves when every input submitted before has ended. See `BatchQueue.drain`. */
  drain(): Promise<void>;
  /** Takes no more inputs, and resolves when all have ended. See `BatchQueue.stop`. */
  stop(options?: StopOptions): Promise<void>;
}

/**
 * The same, where inputs have keys: the batch function may return a `Map`, and a key without a result gives
 * `undefined`.
 */
export function asBatchedService(
  batchSize: number,
  maxDelay: number,
  options: QueueOptions & Keyed & { missing: 'undefined' },
): <Input, Result>(
  batchFunction: KeyedBatchFunction<Input, Result>,
) => BatchedService<Input, Result | undefined>;
/** The same, where inputs have keys: the batch function may return a `Map` from keys to results. */
export function asBatchedService(
  batchSize: number,
  maxDelay: number,
  options: QueueOptions & Keyed,
): <Input, Result>(batchFunction: KeyedBatchFunction<Input, Result>) => BatchedService<Input, Result>;
/**
 * Turns a batch function into a service for single inputs.
 *
 * ```ts
 * const square = asBatchedService(3, 100)(async (xs: number[]) => xs.map((x) => x * x));
 * await square(7); // 49
 * ```
 *
 * @param batchSize most inputs in one batch: an integer ≥ 1, or `Infinity`
 * @param maxDelay longest that an input waits for others, in milliseconds: ≥ 0, or `Infinity`
 * @returns a function that takes the batch function and returns the service; it throws a TypeError or
 *   RangeError for an invalid option
 */
export function asBatchedService(
  batchSize: number,
  maxDelay: number,
  options?: QueueOptions,
): <Input, Result>(batchFunction: BatchFunction<Input, Result>) => BatchedService<Input, Result>;
export function asBatchedService(batchSize: number, maxDelay: number, options?: QueueOptions) {
  return <Input, Result>(batchFunction: KeyedBatchFunction<Input, Result>): BatchedService<Input, Result> => {
    // The overloads say where a Map is an answer; the queue checks it when it comes.
    const keyless = batchFunction as BatchFunction<Input, Result>;
    return toService(new BatchQueue<Input, Result>(keyless, { ...options, batchSize, maxDelay }));
  };
}

/**
 * Turns a function of one input into a service that runs one call at a time, in order of arrival, for
 * something that must not be used concurrently. A call runs in the async context of its caller.
 *
 * @returns a function that takes the function of one input and returns the service; it throws a TypeError or
 *   RangeError for an invalid option
 */
export function asService(
  options?: SerialOptions,
): <Input, Result>(fn: (input: Input) => PromiseLike<Result> | Result) => BatchedService<Input, Result> {
  return (fn) => toService(new SerialQueue(fn, { ...options }));
}

export function toService<Input, Result>(queue: BatchQueue<Input, Result>): BatchedService<Input, Result> {
  const submit = (input: Input, options?: SubmitOptions) => queue.submit(input, options);
  return Object.assign((input: Input, options?: SubmitOptions) => queue.submit(input, options), {
    queue,
    submit,
    submitMany: queue.submitMany.bind(queue),
    start: queue.start.bind(queue),
    drain: queue.drain.bind(queue),
    stop: queue.stop.bind(queue),
  });
}
