import type { SubmitOptions } from '../core/options.js';

/**
 * Carries single inputs from the nodes that call a service to the nodes that serve it, and their results
 * back. A node is one open transport: as a rule, one process.
 *
 * What every transport guarantees, and test/transports.spec.ts proves of each:
 *
 * 1. Every call ends: with the result, with the error that it failed with on its node, or with one of the errors
 *    of errors.ts within a stated time. The first answer wins; later ones are ignored.
 * 2. An input is delivered at least once to one node. It is acknowledged when it has ended there, not before. A
 *    node that is silent for `redeliverAfter` milliseconds loses its inputs to another one.
 * 3. Deliveries are counted. Beyond `maxDeliver` the call fails with a `RedeliveryError`. From `FROM_ALONE` on a node has one
 *    such input at a time.
 * 4. A node never has more than `prefetch` inputs of a service that have not ended, except those taken over from
 *    a node that is silent.
 * 5. The caller keeps what it has sent, and sends it again where the broker has lost it.
 * 6. What nobody waits for any more, because of its timeout or signal, is not begun.
 */
export interface Transport {
  /** Begins to connect. To be called once, before everything else; does not wait for the broker. */
  open(context: TransportContext): void;

  /**
   * Sends one input to a node that serves the service. Never throws.
   *
   * @returns a promise of the result. It rejects with the error of the node, with `signal.reason`, with a
   *   `BatchTimeoutError`, `NoNodeError`, `TransportError`, `QueueFullError`, `RedeliveryError` or
   *   `PayloadError`, with a `ServiceStoppedError` after `close`, or with a `TypeError` or `RangeError` for
   *   invalid options
   */
  call(service: string, input: unknown, options?: CallOptions): Promise<unknown>;

  /** Takes inputs of a service from now on, until `drain`. */
  serve(service: string, options: ServeOptions, onInput: OnInput): void;

  /**
   * Takes no more inputs, waits for those it has, and gives the rest back to be delivered to another node. A
   * call of its own goes on.
   *
   * @returns a promise that resolves when no input is left here
   */
  drain(options?: { timeout?: number | undefined }): Promise<void>;

  /** Drains without waiting, rejects its pending calls with a `ServiceStoppedError`, and disconnects. */
  close(): Promise<void>;

  /** Whether the broker can be reached, as far as is known. */
  readonly isConnected: boolean;

  /** What is known now; taken from the last exchange with the broker, so it costs nothing. */
  state(): TransportState;
}

/**
 * From this delivery on an input runs alone, and a node has no other one like it: should it end the node, it takes no other one
 * nearer to its `RedeliveryError`.
 */
export const FROM_ALONE = 3;

/** What a transport needs from the application that opens it. */
export interface TransportContext {
  /** Classes of errors that arrive as what they were, by the names that stand for them on the wire. */
  readonly errors: ReadonlyMap<string, ErrorClass>;
  /**
   * Names of the services that this application calls, so that `state()` has them before the first call. It
   * may grow. Default: none.
   */
  readonly calls?: ReadonlySet<string>;
  /** Called with what an operator should know: a lost connection, inputs that cannot be read. */
  readonly warn: (kind: string, sentence: string) => void;
}

/** A class of errors, whatever its constructor takes: it is not called. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a constructor of any parameters
export type ErrorClass = abstract new (...args: any) => Error;

/** Options of one call. */
export interface CallOptions extends SubmitOptions {
  /** Trace context, as a propagator of OpenTelemetry writes it: `{ traceparent: … }`. */
  trace?: TraceCarrier | undefined;
}

/** Texts by name. */
export type TraceCarrier = Readonly<Record<string, string>>;

/** How a service is served. */
export interface ServeOptions {
  /** Inputs that may be here without having ended, an integer ≥ 1. Read whenever there may be room, so it may change. */
  readonly prefetch: number;
  /** Inputs that may wait in the broker for each node that serves the service; callers of more are refused. */
  readonly maxQueued: number;
}

/** Runs one input. What it throws or rejects with is the caller's error. */
export type OnInput = (input: unknown, delivery: Delivery) => Promise<unknown>;

/** What came with an input. */
export interface Delivery {
  /** How often it has been delivered, this time included. */
  readonly deliveries: number;
  /** Aborts when its caller has given up, or the input was given back. */
  readonly signal: AbortSignal;
  /** Milliseconds that its caller still waits; `undefined` without a timeout. */
  readonly timeout: number | undefined;
  readonly priority: number | undefined;
  readonly tenant: unknown;
  readonly trace: TraceCarrier | undefined;
}

/** A transport at one moment. */
export interface TransportState {
  /** `redis`, `nats`, `memory` or another. */
  readonly transport: string;
  /** The name of this node. */
  readonly node: string;
  /** Whether the broker can be reached. */
  readonly connected: boolean;
  /** Whether this node has stopped taking inputs. */
  readonly draining: boolean;
  /** The services that this node calls or serves. */
  readonly services: readonly ServiceState[];
}

/** A service, as this node knows it. */
export interface ServiceState {
  /** Its name on the wire. */
  readonly service: string;
  /** The nodes that serve it. */
  readonly nodes: readonly NodeState[];
  /** Inputs that wait in the broker, not yet taken by a node. */
  readonly waiting: number;
  /** Inputs delivered again since the nodes above have started. */
  readonly redelivered: number;
  /** Calls of this node that have not ended. */
  readonly calls: number;
}

/** A node that serves a service. */
export interface NodeState {
  readonly node: string;
  readonly host: string;
  readonly pid: number;
  /** Inputs that it may have at once. */
  readonly prefetch: number;
  /** Inputs that it has. */
  readonly inProgress: number;
  /** Inputs that it was given after another node had them, since it started. */
  readonly redelivered: number;
}
