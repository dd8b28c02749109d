import { BatchQueue } from './batch-queue.js';
import type { BatchFunction } from './batch-function.js';
import { functionName } from './checks.js';
import type { QueueOptions, StopOptions, SubmitOptions } from './options.js';

/** A queue that is called like a function: one input in, its own result out. */
export interface BatchedService<Input, Result> {
  (input: Input, options?: SubmitOptions): Promise<Result>;
  /** The same as the call: ask now, await later. */
  submit(input: Input, options?: SubmitOptions): Promise<Result>;
  /** Takes in all inputs before a stop can take effect; one promise per input, in their order. */
  submitMany(inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[];
  /** The queue behind it: settings, stats, `onBatch`. */
  readonly queue: BatchQueue<Input, Result>;
  start(): void;
  drain(): Promise<void>;
  stop(options?: StopOptions): Promise<void>;
}

/**
 * Makes a batch function a service for single inputs.
 *
 * ```ts
 * const square = asBatchedService(3, 100)(async (xs: number[]) => xs.map((x) => x * x));
 * await square(7); // 49
 * ```
 *
 * @param batchSize most inputs in one batch: an integer ≥ 1, or `Infinity`
 * @param maxDelay longest wait for others, in milliseconds ≥ 0
 */
export function asBatchedService(
  batchSize: number,
  maxDelay: number,
  options?: QueueOptions,
): <Input, Result>(batchFunction: BatchFunction<Input, Result>) => BatchedService<Input, Result> {
  return <Input, Result>(batchFunction: BatchFunction<Input, Result>) =>
    toService(
      new BatchQueue<Input, Result>(batchFunction, {
        ...options,
        batchSize,
        maxDelay,
      }),
    );
}

/** The settings of a service that runs one call at a time. */
export type SerialOptions = Omit<QueueOptions, 'dispatch' | 'concurrency'>;

/**
 * Makes a function of one input a service that is never used by two at once: one call at a time, in the order of
 * arrival, however many callers there are.
 */
export function asService(
  options?: SerialOptions,
): <Input, Result>(fn: (input: Input) => PromiseLike<Result> | Result) => BatchedService<Input, Result> {
  return <Input, Result>(fn: (input: Input) => PromiseLike<Result> | Result) => {
    const queueOptions = { name: functionName(fn, 'service'), ...options, ...serial };
    return toService(new BatchQueue(oneByOne(fn), queueOptions));
  };
}

/** The settings that make a queue run one call at a time. */
export const serial = { batchSize: 1, maxDelay: 0, dispatch: 'eager', concurrency: 1 } as const;

/** A function of one input as a batch function for batches of one. */
export function oneByOne<Input, Result>(
  fn: (input: Input) => PromiseLike<Result> | Result,
): BatchFunction<Input, Result> {
  return async ([input]) => [await fn(input as Input)];
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
