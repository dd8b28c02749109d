/**
 * What every error of this library has in common: a stable `code` to switch on.
 *
 * An error thrown by the batch function is not wrapped in one of these, and an abort rejects with `signal.reason`.
 */
export abstract class BatchingError extends Error {
  abstract readonly code: string;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The queue holds `maxQueued` inputs already and takes no more for now. */
export class QueueFullError extends BatchingError {
  readonly code = 'ERR_BATCHING_FULL';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** The bound that was met, in inputs. */
    readonly maxQueued: number,
    /** When the inputs that wait now should have left, in milliseconds, from the run times seen so far. */
    readonly retryAfter: number,
  ) {
    super(
      `${queue} is full: ${maxQueued} inputs wait already; try again in ${Math.ceil(retryAfter)} ms, ` +
        `raise maxQueued, or set onFull: 'wait'`,
    );
  }
}

/** The queue was stopped: before the input came, or while it waited or ran and the stop could not wait for it. */
export class ServiceStoppedError extends BatchingError {
  readonly code = 'ERR_BATCHING_STOPPED';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    what:
      'takes no more inputs' | 'dropped this input' | 'did not wait for this batch' = 'takes no more inputs',
  ) {
    super(`${queue} was stopped and ${what}`);
  }
}

/** The `timeout` of one input passed before its result was there. */
export class BatchTimeoutError extends BatchingError {
  readonly code = 'ERR_BATCHING_TIMEOUT';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** The timeout that passed, in milliseconds from submission. */
    readonly timeout: number,
    /** Where the input was when it passed. */
    readonly phase: 'waiting' | 'running',
  ) {
    super(`${queue} gave no result within ${timeout} ms; the input was still ${phase}`);
  }
}

/** The batch function broke its promise to return an array with one result per input, in the order of the inputs. */
export class BatchResultError extends BatchingError {
  readonly code = 'ERR_BATCHING_RESULT';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** Inputs in the batch, so results expected. */
    readonly expected: number,
    /** What came instead, in words: `2 results`, `undefined`, `a Map`. */
    readonly received: string,
  ) {
    super(
      `the batch function of ${queue} must return an array of ${expected} results, one per input and in their order; ` +
        `it returned ${received}`,
    );
  }
}
