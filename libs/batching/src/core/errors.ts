/** The brands of this copy's error classes. A user's subclass has none. */
const brands = new WeakMap<object, symbol>();

/**
 * Brands an error class, so that `instanceof` also accepts instances from another copy of this library: a
 * process may load it as ESM and as CommonJS, or in two versions.
 */
export function brand(type: abstract new (...args: never) => BatchingError, name: string): void {
  const key = Symbol.for(BRAND + name);
  brands.set(type, key);
  Object.defineProperty(type.prototype, key, { value: true });
}

const BRAND = 'nest-batching:error:';

/** The names that an error and its classes were branded with. */
export function brandsOf(error: object): string[] {
  const names = new Set<string>();
  for (let one: object | null = error; one; one = Reflect.getPrototypeOf(one)) {
    for (const key of Object.getOwnPropertySymbols(one)) {
      if (key.description?.startsWith(BRAND)) names.add(key.description.slice(BRAND.length));
    }
  }
  return [...names];
}

/** Brands one error, whose class may not be loaded here: `instanceof` that class holds. */
export function brandAs(error: BatchingError, name: string): void {
  Object.defineProperty(error, Symbol.for(BRAND + name), { value: true });
}

/**
 * What an error means for its caller:
 * - `overload`: the queue cannot serve the input now; try again after `retryAfter` milliseconds.
 * - `unavailable`: the model behind the queue cannot serve the input now; try again soon.
 * - `stopped`: the queue takes no more inputs.
 * - `timeout`: a time limit passed.
 * - `too-large`: the input, or the number of inputs, exceeds a bound; the same call will fail again.
 * - `input`: the model does not accept the input; the same call will fail again.
 * - `missing`: there is no result for the key of the input.
 * - `failure`: a fault of the application: of its batch function, its model or its settings.
 *
 * A later version may add kinds; treat an unknown one as a `failure`.
 */
export type ErrorKind =
  'overload' | 'unavailable' | 'stopped' | 'timeout' | 'too-large' | 'input' | 'missing' | 'failure';

/**
 * Base class of this library's errors: each has a stable `code`, and a `kind` that several codes share.
 *
 * Errors of the batch function are not wrapped in one of these, and an abort rejects with `signal.reason`.
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

  /** Stable across versions: `ERR_BATCHING_…`. */
  abstract readonly code: string;
  /** What the error means for its caller. */
  readonly kind: ErrorKind = 'failure';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }

  /**
   * The message for clients of the application: it names the queue or the model, but no setting. `undefined`
   * if the error does not concern them.
   */
  get publicMessage(): string | undefined {
    return undefined;
  }
}

/** The queue is full: the inputs that wait have reached `maxQueued` or `maxQueuedCost`. */
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
    /** Milliseconds until the inputs now waiting should have left, estimated from recent run times. */
    readonly retryAfter: number,
    /** Inputs that wait: fewer than `maxQueued` if `maxQueuedCost` was reached first. */
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
 * One call submitted more inputs than may ever wait in the queue (`maxQueued`). None of them was taken in,
 * and the same call will fail again.
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
    /** Inputs of the call. */
    readonly count: number,
    /** The bound, in inputs. */
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

/** The input was refused: by recent run times, its result would not have been ready within its `timeout`. */
export class DeadlineError extends BatchingError {
  static {
    brand(this, 'DeadlineError');
  }

  readonly code = 'ERR_BATCHING_DEADLINE';
  override readonly kind = 'overload';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** The input's timeout, in milliseconds. */
    readonly timeout: number,
    /** Milliseconds by which the input was expected to be late, so when to try again. */
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

/** The input by itself costs more than a whole batch may: `cost` returned more than `maxCost`. */
export class InputCostError extends BatchingError {
  static {
    brand(this, 'InputCostError');
  }

  readonly code = 'ERR_BATCHING_COST';
  override readonly kind = 'too-large';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** What `cost` returned for the input. */
    readonly cost: number,
    /** The bound of a batch, in the same unit. */
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

/**
 * The queue was stopped before the input was submitted, or did not wait for it: a hard stop, or one with a
 * timeout.
 */
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

/** A time limit passed before the result was ready: the input's `timeout`, or the queue's `runTimeout`. */
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
    /**
     * Where the input was. `hanging`: in a batch whose function took longer than `runTimeout`. `sent`: with a
     * transport, on its way to a node, waiting or running there.
     */
    readonly phase: 'waiting' | 'running' | 'hanging' | 'sent',
  ) {
    super(
      phase === 'hanging'
        ? `the batch function of ${queue} did not return within ${timeout} ms; its batch was given up`
        : `${queue} gave no result within ${timeout} ms; the input ${phase === 'sent' ? 'had been sent to its nodes' : `was still ${phase}`}`,
    );
  }

  override get publicMessage(): string {
    return `${this.queue} gave no result in time`;
  }
}

/** The batch function did not return an array with one result per input. */
export class BatchResultError extends BatchingError {
  static {
    brand(this, 'BatchResultError');
  }

  readonly code = 'ERR_BATCHING_RESULT';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    /** Results expected: the number of inputs in the run. */
    readonly expected: number,
    /** What it returned instead, in words: `2 results`, `undefined`, `a Map`. */
    readonly received: string,
  ) {
    super(
      `the batch function of ${queue} must return an array of ${expected} results, one per input and in their order; ` +
        `it returned ${received}`,
    );
  }
}

/**
 * The `Map` that the batch function returned has no result for the key of this input. With `missing:
 * 'undefined'` the caller gets `undefined` instead.
 */
export class MissingResultError extends BatchingError {
  static {
    brand(this, 'MissingResultError');
  }

  readonly code = 'ERR_BATCHING_MISSING';
  override readonly kind = 'missing';
  /** Private, because loggers print the properties of errors, and a key may be personal data. */
  readonly #key: unknown;

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    key: unknown,
  ) {
    super(`${queue} has no result for the key of this input`);
    this.#key = key;
  }

  /** What `keyBy` returned for the input. */
  get key(): unknown {
    return this.#key;
  }

  override get publicMessage(): string {
    return `${this.queue} has no result for this input`;
  }
}

/** A session has too many pushes without an output. Await some of them before the next. */
export class SessionFullError extends BatchingError {
  static {
    brand(this, 'SessionFullError');
  }

  readonly code = 'ERR_BATCHING_SESSION_FULL';
  override readonly kind = 'overload';

  constructor(
    /** The bound: `maxPending` of the session. */
    readonly maxPending: number,
  ) {
    super(
      `the session has ${maxPending} pushes without an output; await some before the next, or raise maxPending`,
    );
  }

  override get publicMessage(): string {
    return 'too many inputs of this session wait already';
  }
}

/** The session was closed before the push. */
export class SessionClosedError extends BatchingError {
  static {
    brand(this, 'SessionClosedError');
  }

  readonly code = 'ERR_BATCHING_SESSION_CLOSED';
  override readonly kind = 'stopped';

  constructor() {
    super('the session was closed and takes no more inputs');
  }

  override get publicMessage(): string {
    return this.message;
  }
}

/**
 * An earlier push of the same session failed, so this one did not run: its output would have followed a gap. Push
 * the failed input and this one again. `cause` is the error of the failed push.
 */
export class SessionInterruptedError extends BatchingError {
  static {
    brand(this, 'SessionInterruptedError');
  }

  readonly code = 'ERR_BATCHING_SESSION_INTERRUPTED';
  override readonly kind: ErrorKind;

  constructor(cause: unknown) {
    super('an earlier input of this session failed, so this one did not run; push both again', { cause });
    this.kind = cause instanceof BatchingError ? cause.kind : 'failure';
  }
}
