/** Brands of the classes of this copy of the library; subclasses made elsewhere have none. */
const brands = new WeakMap<object, symbol>();

/**
 * Brands a class of errors, so that `instanceof` also takes its instances from another copy of this library: a process
 * may load it twice, as ESM and as CommonJS, or in two versions.
 */
export function brand(type: abstract new (...args: never) => BatchingError, name: string): void {
  const key = Symbol.for(`nest-batching:error:${name}`);
  brands.set(type, key);
  Object.defineProperty(type.prototype, key, { value: true });
}

/**
 * What an error means for its caller:
 * - `overload`: the queue cannot serve it now; try again after `retryAfter` milliseconds.
 * - `unavailable`: the model behind the queue cannot serve it now; try again soon.
 * - `stopped`: the queue takes no more inputs.
 * - `timeout`: a time limit passed.
 * - `too-large`: the input, or the number of inputs, is beyond a bound; trying again is of no use.
 * - `input`: the input is not what the model takes; trying again is of no use.
 * - `failure`: the application is at fault: its batch function, its model, its settings.
 *
 * A later version may add kinds; treat one that is not known as a `failure`.
 */
export type ErrorKind =
  'overload' | 'unavailable' | 'stopped' | 'timeout' | 'too-large' | 'input' | 'failure';

/**
 * What every error of this library has in common: a stable `code` to switch on, and its `kind`, which many codes share.
 *
 * An error thrown by the batch function is not wrapped in one of these, and an abort rejects with `signal.reason`.
 */
export abstract class BatchingError extends Error {
  static {
    brand(this, 'BatchingError');
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    const key = brands.get(this);
    if (!key) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === 'object' && value !== null && key in value;
  }

  abstract readonly code: string;
  /** Default: `failure`. */
  readonly kind: ErrorKind = 'failure';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }

  /**
   * The message for callers outside the application: it names the queue or the model and no setting. `undefined` where
   * the error is none of their business.
   */
  get publicMessage(): string | undefined {
    return undefined;
  }
}

/** The queue holds `maxQueued` inputs already and takes no more for now. */
export class QueueFullError extends BatchingError {
  static {
    brand(this, 'QueueFullError');
  }

  readonly code = 'ERR_BATCHING_FULL';
  override readonly kind = 'overload';

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

  override get publicMessage(): string {
    return `${this.queue} is full`;
  }
}

/**
 * More inputs came at once, as an array, than the queue may ever hold. None of them was taken in; trying again with as
 * many is of no use.
 */
export class TooManyInputsError extends BatchingError {
  static {
    brand(this, 'TooManyInputsError');
  }

  readonly code = 'ERR_BATCHING_TOO_MANY';
  override readonly kind = 'too-large';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** Inputs that came at once. */
    readonly count: number,
    /** Inputs that may wait in the queue. */
    readonly maxQueued: number,
  ) {
    super(
      `${queue} holds at most ${maxQueued} inputs, and ${count} came at once; none was taken in: submit fewer at once, ` +
        `raise maxQueued, or set onFull: 'wait'`,
    );
  }

  override get publicMessage(): string {
    return `${this.queue} takes at most ${this.maxQueued} inputs at once, not ${this.count}`;
  }
}

/** The input could not have been served within its `timeout`, by the run times learned, and was not taken in. */
export class DeadlineError extends BatchingError {
  static {
    brand(this, 'DeadlineError');
  }

  readonly code = 'ERR_BATCHING_DEADLINE';
  override readonly kind = 'overload';

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

  override get publicMessage(): string {
    return `${this.queue} would take longer than the time allowed`;
  }
}

/** One input costs more than a whole batch may. */
export class InputCostError extends BatchingError {
  static {
    brand(this, 'InputCostError');
  }

  readonly code = 'ERR_BATCHING_COST';
  override readonly kind = 'too-large';

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

  override get publicMessage(): string {
    return `the input costs ${this.cost}, and at most ${this.maxCost} is allowed`;
  }
}

/** The queue was stopped: before the input came, or while it waited or ran and the stop could not wait for it. */
export class ServiceStoppedError extends BatchingError {
  static {
    brand(this, 'ServiceStoppedError');
  }

  readonly code = 'ERR_BATCHING_STOPPED';
  override readonly kind = 'stopped';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    what:
      'takes no more inputs' | 'dropped this input' | 'did not wait for this batch' = 'takes no more inputs',
  ) {
    super(`${queue} was stopped and ${what}`);
  }

  override get publicMessage(): string {
    return `${this.queue} was stopped`;
  }
}

/** A time limit passed before the result was there: the input's own `timeout`, or the queue's `runTimeout`. */
export class BatchTimeoutError extends BatchingError {
  static {
    brand(this, 'BatchTimeoutError');
  }

  readonly code = 'ERR_BATCHING_TIMEOUT';
  override readonly kind = 'timeout';

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

  override get publicMessage(): string {
    return `${this.queue} gave no result in time`;
  }
}

/** The batch function broke its promise to return an array with one result per input, in the order of the inputs. */
export class BatchResultError extends BatchingError {
  static {
    brand(this, 'BatchResultError');
  }

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
