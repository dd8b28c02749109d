import { BatchingError, brand } from '../core/errors.js';

/** No node serves the service, and none came within the transport's `noNodeTimeout`. */
export class NoNodeError extends BatchingError {
  static {
    brand(this, 'NoNodeError');
  }

  readonly code = 'ERR_BATCHING_NO_NODE';
  override readonly kind = 'unavailable';

  constructor(
    /** Name of the service. */
    readonly queue: string,
    /** Milliseconds that the call has waited for a node; also when to try again. */
    readonly retryAfter: number,
  ) {
    super(
      `no node serves ${queue}, and none came within ${retryAfter} ms; start one whose BatchingModule has it in serve, ` +
        'on the same broker and with the same prefix',
    );
  }

  override get publicMessage(): string {
    return `no node serves ${this.queue} at the moment`;
  }
}

/** The broker cannot be reached, or refuses what it is asked. */
export class TransportError extends BatchingError {
  static {
    brand(this, 'TransportError');
  }

  readonly code = 'ERR_BATCHING_TRANSPORT';
  override readonly kind = 'unavailable';

  constructor(
    /** Name of the service. */
    readonly queue: string,
    problem: string,
    /** When to try again, in milliseconds. */
    readonly retryAfter: number,
    options?: ErrorOptions,
  ) {
    super(`${queue} cannot be reached: ${problem}`, options);
  }

  override get publicMessage(): string {
    return `${this.queue} cannot be reached at the moment`;
  }
}

/** An input or a result has more bytes than the transport carries. The same call will fail again. */
export class PayloadSizeError extends BatchingError {
  static {
    brand(this, 'PayloadSizeError');
  }

  readonly code = 'ERR_BATCHING_PAYLOAD_SIZE';
  override readonly kind = 'too-large';

  constructor(
    /** Name of the service. */
    readonly queue: string,
    readonly what: 'input' | 'result',
    /** Bytes, as encoded. */
    readonly size: number,
    /** Most bytes that the transport carries at once. */
    readonly limit: number,
  ) {
    super(
      `the ${what} of ${queue} has ${size} bytes, and the transport carries at most ${limit}: send less at once, ` +
        'or a reference to where the data lies',
    );
  }

  override get publicMessage(): string {
    return `the ${this.what} of ${this.queue} is too large`;
  }
}

/** An input or a result is of a kind that cannot travel, such as a symbol, or arrived damaged. `cause` says why. */
export class PayloadError extends BatchingError {
  static {
    brand(this, 'PayloadError');
  }

  readonly code = 'ERR_BATCHING_PAYLOAD';

  constructor(
    /** Name of the service. */
    readonly queue: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`${queue}: ${problem}`, options);
  }
}

/**
 * Every node that took the input died or fell silent before it had ended, `deliveries` times. Most likely the
 * input ends the process that runs it.
 */
export class RedeliveryError extends BatchingError {
  static {
    brand(this, 'RedeliveryError');
  }

  readonly code = 'ERR_BATCHING_REDELIVERY';

  constructor(
    /** Name of the service. */
    readonly queue: string,
    /** How often the input was delivered. */
    readonly deliveries: number,
  ) {
    super(
      `${queue}: the input was delivered ${deliveries} times, and each time its node died or fell silent before it had ended; ` +
        'it is not delivered again',
    );
  }

  override get publicMessage(): string {
    return `${this.queue} could not process this input`;
  }
}

/**
 * An error of another node whose class is not known here. `name`, `message` and `stack` are those of the
 * error. Register its class in `errors` of `BatchingModule.forRoot()` on both nodes to get it as what it was.
 */
export class RemoteError extends BatchingError {
  static {
    brand(this, 'RemoteError');
  }

  readonly code = 'ERR_BATCHING_REMOTE';
}
