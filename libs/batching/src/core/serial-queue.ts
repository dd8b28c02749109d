import { AsyncResource } from 'node:async_hooks';
import { BatchQueue } from './batch-queue.js';
import { functionName } from './checks.js';
import type { BatchOptions, QueueOptions, SubmitOptions } from './options.js';

/** The settings of a service that runs one call at a time. */
export type SerialOptions = Omit<QueueOptions, 'dispatch' | 'concurrency'>;

/** The settings that make a queue run one call at a time. */
export const serial = { batchSize: 1, maxDelay: 0, dispatch: 'eager', concurrency: 1 } as const;

/** A call in the queue: its input, and the async context of its caller. */
class Call<Input> extends AsyncResource {
  constructor(readonly input: Input) {
    super('SerialCall');
  }
}

/**
 * A queue that runs one call at a time. A call has one caller, so it runs in the async context of that
 * caller, while a batch runs in the queue's own.
 */
export class SerialQueue<Input, Result> extends BatchQueue<Input, Result> {
  /** @internal */
  override readonly hasBatches = false;

  /** @throws TypeError or RangeError for options that make no sense */
  constructor(fn: (input: Input) => PromiseLike<Result> | Result, options: SerialOptions) {
    const run = async ([call]: Call<Input>[]): Promise<Result[]> => {
      if (!call) return [];
      return [await call.runInAsyncScope(fn, undefined, call.input)];
    };
    const { name = functionName(fn, 'service') } = options;
    super(run as never, { ...ofCalls(options), name, ...serial });
  }

  override submit(input: Input, options?: SubmitOptions): Promise<Result> {
    return super.submit(new Call(input) as Input, options);
  }
}

/** The options with their functions wrapped: the queue passes them a call, and they get its input. */
function ofCalls<Input>(options: SerialOptions): Omit<BatchOptions<Input>, keyof typeof serial> {
  const entries = Object.entries(options).map(([name, option]: [string, unknown]) => {
    if (typeof option !== 'function') return [name, option];
    return [name, (call: Call<unknown>): unknown => Reflect.apply(option, options, [call.input])];
  });
  return Object.fromEntries(entries) as Omit<BatchOptions<Input>, keyof typeof serial>;
}
