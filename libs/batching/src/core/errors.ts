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
    /** The bound, in inputs. */
    readonly maxQueued: number,
    /** When the inputs that wait now should have left, in milliseconds, from the run times learned. */
    readonly retryAfter: number,
    /** How many wait: fewer than `maxQueued` where `maxQueuedCost` was met first. */
    waiting = maxQueued,
  ) {
    super(
      `${queue} is full: ${waiting} inputs wait already; try again in ${Math.ceil(retryAfter)} ms, ` +
        `raise ${waiting < maxQueued ? 'maxQueuedCost' : 'maxQueued'}, or set onFull: 'wait'`,
    );
  }
}

/** The input could not have been served within its `timeout`, by the run times learned, and was not taken in. */
export class DeadlineError extends BatchingError {
  readonly code = 'ERR_BATCHING_DEADLINE';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** The timeout that was asked for, in milliseconds. */
    readonly timeout: number,
    /** How much too long it would have taken: when to try again, in milliseconds. */
    readonly retryAfter: number,
  ) {
    super(
      `${queue} would need ${Math.ceil(timeout + retryAfter)} ms for this input, which gave it ${timeout} ms; ` +
        `try again in ${Math.ceil(retryAfter)} ms`,
    );
  }
}

/** One input costs more than a whole batch may. */
export class InputCostError extends BatchingError {
  readonly code = 'ERR_BATCHING_COST';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    readonly cost: number,
    readonly maxCost: number,
  ) {
    super(
      `the input costs ${cost}, more than the ${maxCost} that a batch of ${queue} may cost: send less at once`,
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

/** A time limit passed before the result was there: the input's own `timeout`, or the queue's `runTimeout`. */
export class BatchTimeoutError extends BatchingError {
  readonly code = 'ERR_BATCHING_TIMEOUT';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** The limit that passed, in milliseconds. */
    readonly timeout: number,
    /** Where the input was: `hanging` in a batch whose function took longer than `runTimeout`. */
    readonly phase: 'waiting' | 'running' | 'hanging',
  ) {
    super(
      phase === 'hanging'
        ? `the batch function of ${queue} did not return within ${timeout} ms; its batch was given up`
        : `${queue} gave no result within ${timeout} ms; the input was still ${phase}`,
    );
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
