import {
  JetStreamApiError,
  JetStreamApiCodes,
  jetstreamManager,
  type JetStreamManager,
} from '@nats-io/jetstream';
import type { Msg, NatsConnection, Payload, PublishOptions, Subscription } from '@nats-io/transport-node';
import type { TransportContext } from '../transport/transport.js';

/** Milliseconds after which the broker is asked again, at first and at most. */
const RETRY = [100, 2_000] as const;
/** Milliseconds that the broker may take to answer a request for a stream or a consumer. */
const REQUEST_TIMEOUT = 2_000;
/** Milliseconds after which an input that nobody has run or taken back is dropped from its stream. */
const MAX_AGE = 3_600_000;
/** Bytes of a message that are not its input or answer: headers, lengths. */
const MESSAGE_OVERHEAD = 256;
/** Largest message before the broker has said what it takes. */
const DEFAULT_MAX_PAYLOAD = 2 ** 20;

/** What happens to the connection. */
export interface LinkListener {
  connected(): void;
  disconnected(): void;
}

/** How a node connects. */
export interface Connecting {
  /** Makes a connection, or returns that of the user. */
  readonly connect: () => Promise<NatsConnection>;
  /** Whether the connection is the user's, to be left open. */
  readonly isShared: boolean;
  /** JetStream domain. */
  readonly domain: string | undefined;
  /** Copies of each stream in a cluster. */
  readonly replicas: number;
}

/** A stream as the broker has it. */
export interface StreamNow {
  /** When it was made. Another one of the same name has another time, and counts inputs from 1 again. */
  readonly created: string;
  /** Most inputs that it takes; `Infinity` without a limit. */
  readonly maxMessages: number;
}

/** A subscription that outlives the connection. */
export class LinkSubscription {
  current: Subscription | undefined;

  constructor(
    readonly subject: string,
    readonly onMessage: (message: Msg) => void,
  ) {}
}

/**
 * The connection of a node. It connects again by itself; what was published before may be lost, so who published it finds out
 * and repeats it.
 */
export class NatsLink {
  #connection: NatsConnection | undefined;
  #manager: JetStreamManager | undefined;
  #isReady = false;
  #isClosed = false;
  #isChecking = false;
  readonly #subscriptions = new Set<LinkSubscription>();
  #ended: (() => void) | undefined;

  constructor(
    private readonly connecting: Connecting,
    private readonly context: TransportContext,
    private readonly listener: LinkListener,
  ) {
    void this.#run();
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Subjects of the API of JetStream begin with it. */
  get api(): string {
    const { domain } = this.connecting;
    return domain === undefined ? '$JS.API' : `$JS.${domain}.API`;
  }

  /** Most bytes of an input or answer. */
  readonly maxPayload = (): number =>
    (this.#connection?.info?.max_payload ?? DEFAULT_MAX_PAYLOAD) - MESSAGE_OVERHEAD;

  get manager(): JetStreamManager {
    if (!this.#manager) throw new Error('NATS cannot be reached');
    return this.#manager;
  }

  /** Nothing is published while NATS is away. @throws Error for a message that is too large, or an invalid subject */
  publish(subject: string, payload?: Payload, options?: PublishOptions): void {
    if (this.#isReady && this.#connection?.isClosed() === false) {
      this.#connection.publish(subject, payload, options);
    }
  }

  async request(subject: string, payload: Payload, options: Pick<PublishOptions, 'headers'>): Promise<Msg> {
    if (!this.#connection) throw new Error('NATS cannot be reached');
    return this.#connection.request(subject, payload, { ...options, timeout: REQUEST_TIMEOUT });
  }

  subscribe(subject: string, onMessage: (message: Msg) => void): LinkSubscription {
    const subscription = new LinkSubscription(subject, onMessage);
    this.#subscriptions.add(subscription);
    this.#attach(subscription);
    return subscription;
  }

  /** Resolves when every message that the broker has sent has been taken. */
  async drain(subscription: LinkSubscription): Promise<void> {
    this.#subscriptions.delete(subscription);
    await subscription.current?.drain();
  }

  unsubscribe(subscription: LinkSubscription): void {
    this.#subscriptions.delete(subscription);
    subscription.current?.unsubscribe();
  }

  /** Resolves when the broker has taken all that was published, or after so many milliseconds. */
  async flush(limit: number): Promise<void> {
    if (!this.#isReady || !this.#connection) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, limit)));
    await Promise.race([this.#connection.flush().catch(ignore), late]);
    clearTimeout(timer);
  }

  /** Makes the connection anew if the broker says nothing for so many milliseconds. */
  async check(limit: number): Promise<void> {
    const connection = this.#connection;
    if (this.#isChecking || !this.#isReady || !connection) return;
    this.#isChecking = true;
    const timer = setTimeout(() => void connection.reconnect(), limit);
    await connection.flush().catch(ignore);
    clearTimeout(timer);
    this.#isChecking = false;
  }

  /** Makes the stream of a service unless it is there. */
  async openStream(name: string, subjects: string[], maxMessages: number): Promise<StreamNow> {
    const { streams } = this.manager;
    const read = async (): Promise<StreamNow> => {
      const { config, created } = await streams.info(name);
      const isOurs = subjects.every((subject) => config.subjects.includes(subject));
      if (config.retention !== 'workqueue' || !isOurs) {
        throw new ForeignStreamError(
          `the stream ${name} is there, and is not one of nest-batching: give another prefix`,
        );
      }
      const limit = config.max_msgs < 0 ? Infinity : config.max_msgs;
      return { created, maxMessages: limit };
    };
    try {
      return await read();
    } catch (error) {
      if (!isApiError(error, JetStreamApiCodes.StreamNotFound)) throw error;
    }
    try {
      const { created } = await streams.add({
        name,
        subjects,
        description: 'inputs of nest-batching that have not ended',
        retention: 'workqueue',
        storage: 'memory',
        discard: 'new',
        max_msgs: Number.isFinite(maxMessages) ? maxMessages : -1,
        max_age: nanoseconds(MAX_AGE),
        num_replicas: this.connecting.replicas,
      });
      return { created, maxMessages };
    } catch (error) {
      if (!isApiError(error, NAME_IN_USE) && !isApiError(error, SUBJECTS_OVERLAP)) throw error;
      // Another node has just made it: then the server refuses either its name or, in the midst of that, its subject.
      return read().catch((reason: unknown) => {
        throw isApiError(reason, JetStreamApiCodes.StreamNotFound) ? error : reason;
      });
    }
  }

  /**
   * Makes a consumer of a stream unless it is there, for inputs of a subject. All nodes share it, so the longest `redeliverAfter` of theirs
   * holds: with a shorter one, inputs of a node that waits longer between its signs of life would be delivered again while it runs them.
   */
  async openConsumer(
    stream: string,
    name: string,
    subject: string,
    redeliverAfter: number,
    keep: number,
  ): Promise<void> {
    const { consumers } = this.manager;
    try {
      const { config } = await consumers.info(stream, name);
      if ((config.ack_wait ?? 0) < nanoseconds(redeliverAfter)) {
        await consumers.update(stream, name, { ack_wait: nanoseconds(redeliverAfter) });
      }
    } catch (error) {
      if (!isApiError(error, JetStreamApiCodes.ConsumerNotFound)) throw error;
      await consumers.add(stream, {
        durable_name: name,
        filter_subject: subject,
        ack_policy: 'explicit',
        ack_wait: nanoseconds(redeliverAfter),
        // Nodes count deliveries themselves, and answer an input that had too many; the broker would keep it without a word.
        max_deliver: -1,
        // Each node asks for as many as it has room for.
        max_ack_pending: -1,
        max_waiting: 4_096,
        inactive_threshold: nanoseconds(keep),
      });
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#isReady = false;
    for (const { current } of this.#subscriptions) current?.unsubscribe();
    this.#subscriptions.clear();
    this.#ended?.();
    if (!this.connecting.isShared) await this.#connection?.close();
  }

  async #run(): Promise<void> {
    for (let wait: number = RETRY[0]; !this.#isClosed; wait = Math.min(RETRY[1], 2 * wait)) {
      let connection: NatsConnection;
      try {
        connection = await this.connecting.connect();
      } catch (error) {
        this.context.warn('nats connection', `NATS: ${messageOf(error)}; trying again`);
        await this.#pause(wait);
        continue;
      }
      wait = RETRY[0];
      await this.#use(connection);
      if (this.connecting.isShared) return;
    }
  }

  /** Until it is closed, which happens when the broker refuses its credentials twice, or its owner closes it. */
  async #use(connection: NatsConnection): Promise<void> {
    const { isShared, domain } = this.connecting;
    if (this.#isClosed) {
      if (!isShared) await connection.close();
      return;
    }
    const statuses = connection.status();
    this.#connection = connection;
    this.#manager = await jetstreamManager(connection, {
      checkAPI: false,
      timeout: REQUEST_TIMEOUT,
      ...(domain !== undefined && { domain }),
    });
    for (const subscription of this.#subscriptions) this.#attach(subscription);
    this.#up();
    for await (const status of statuses) {
      if (this.#hasClosed()) return;
      if (status.type === 'reconnect') this.#up();
      else if (status.type === 'disconnect') this.#down();
      else if (status.type === 'error') this.#warn(status.error);
    }
    if (this.#hasClosed()) return;
    this.#down();
    this.#connection = this.#manager = undefined;
    this.#warn(await connection.closed());
  }

  /** What the compiler does not take for what it was before something was awaited. */
  #hasClosed(): boolean {
    return this.#isClosed;
  }

  #warn(error: unknown): void {
    this.context.warn('nats connection', `NATS: ${error ? messageOf(error) : 'the connection was closed'}`);
  }

  #up(): void {
    this.#isReady = true;
    this.listener.connected();
  }

  #down(): void {
    if (!this.#isReady) return;
    this.#isReady = false;
    this.listener.disconnected();
  }

  #attach(subscription: LinkSubscription): void {
    subscription.current = this.#connection?.subscribe(subscription.subject, {
      callback: (error, message) => {
        if (error) this.#warn(error);
        else subscription.onMessage(message);
      },
    });
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#ended = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** `JSStreamNameExistErr` of nats-server. */
const NAME_IN_USE = 10_058;

/** `JSStreamSubjectOverlapErr` of nats-server. */
const SUBJECTS_OVERLAP = 10_065;

function isApiError(error: unknown, code: number): boolean {
  return error instanceof JetStreamApiError && error.code === code;
}

/** A stream with a name of ours that is not as ours are. */
class ForeignStreamError extends Error {}

/** Whether the same will be refused again. JetStream may take later what it refuses with a status from 500 on. */
export function isRefusal(error: unknown): error is Error {
  return (error instanceof JetStreamApiError && error.status < 500) || error instanceof ForeignStreamError;
}

/** Whether the stream or the consumer is not there. */
export function isMissing(error: unknown): boolean {
  return (
    isApiError(error, JetStreamApiCodes.StreamNotFound) ||
    isApiError(error, JetStreamApiCodes.ConsumerNotFound)
  );
}

export function nanoseconds(milliseconds: number): number {
  return Math.round(milliseconds * 1e6);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}

export function ignore(): void {
  // Best effort: what it was for has been dealt with, or is dealt with again later.
}
