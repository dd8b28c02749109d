import { Redis, type RedisOptions } from 'ioredis';
import type { TransportContext } from '../transport/transport.js';
import { ANSWER, BEAT, CLAIM, ENTER, GIVE_BACK, LEAVE, LOOK, MISSED, SEND } from './scripts.js';

/** How a command ends that waits in Redis for something to read. */
export const BLOCK = 2_000;

const SCRIPTS = {
  send: SEND,
  answer: ANSWER,
  beat: BEAT,
  claim: CLAIM,
  missed: MISSED,
  giveBack: GIVE_BACK,
  look: LOOK,
  leave: LEAVE,
  enter: ENTER,
};
type ScriptName = keyof typeof SCRIPTS;
type Argument = string | number | Buffer;

/**
 * The connections of a node: one for commands, and one for each command that waits in Redis. They connect again by
 * themselves; a command of a connection that is lost fails at once, since only who sent it knows whether to repeat it.
 */
export class RedisLink {
  readonly commands: Redis;
  /** The connections, each with what rejects those who wait for it. */
  readonly #connections = new Map<Redis, Set<() => void>>();

  constructor(
    private readonly create: (options: RedisOptions) => Redis,
    private readonly context: TransportContext,
  ) {
    this.commands = this.connect();
    for (const [name, lua] of Object.entries(SCRIPTS)) this.commands.defineCommand(nameOf(name), { lua });
  }

  get isReady(): boolean {
    return this.commands.status === 'ready';
  }

  /** A further connection. */
  connect(): Redis {
    const connection = this.create(OPTIONS);
    this.#connections.set(connection, new Set());
    connection.on('error', (error: Error) => {
      this.context.warn('redis connection', `Redis: ${messageOf(error)}; trying again`);
    });
    connection.connect().catch(() => {
      // It was emitted as an error, and is tried again.
    });
    return connection;
  }

  /**
   * Resolves when the connection is there; rejects when it is given up. Not by its event 'end', which does not come where it
   * is given up between two attempts.
   */
  async ready(connection: Redis): Promise<void> {
    if (connection.status === 'ready') return;
    const waiting = this.#connections.get(connection);
    if (!waiting) throw new Error(GIVEN_UP);
    let giveUp: () => void = () => undefined;
    let onReady: () => void = () => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        giveUp = () => {
          reject(new Error(GIVEN_UP));
        };
        onReady = resolve;
        waiting.add(giveUp);
        connection.once('ready', onReady);
      });
    } finally {
      waiting.delete(giveUp);
      connection.off('ready', onReady);
    }
  }

  /** Runs a script; replies are Buffers. */
  async run(name: ScriptName, keys: readonly string[], values: readonly Argument[]): Promise<unknown> {
    const command = Reflect.get(this.commands, `${nameOf(name)}Buffer`) as Script;
    return command.call(this.commands, keys.length, ...keys, ...values);
  }

  /**
   * Sends a command that waits for at most `BLOCK` milliseconds. One that takes much longer is on a connection that has died
   * without a word, so this is made anew.
   */
  async read<T>(connection: Redis, command: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      connection.disconnect(true);
    }, 2 * BLOCK);
    try {
      return await command();
    } finally {
      clearTimeout(timer);
    }
  }

  warn(kind: string, sentence: string): void {
    this.context.warn(kind, sentence);
  }

  /** Makes all connections anew: Redis has not answered for too long. */
  reconnect(): void {
    for (const connection of this.#connections.keys()) connection.disconnect(true);
  }

  disconnect(connection: Redis): void {
    for (const giveUp of this.#connections.get(connection) ?? []) giveUp();
    this.#connections.delete(connection);
    connection.disconnect();
  }

  close(): void {
    for (const connection of [...this.#connections.keys()]) this.disconnect(connection);
  }
}

const GIVEN_UP = 'the connection is not needed any more';

type Script = (this: Redis, count: number, ...values: Argument[]) => Promise<unknown>;

const OPTIONS: RedisOptions = {
  lazyConnect: true,
  // Replies of the same shape from every server.
  protocol: 2,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  retryStrategy: (times) => Math.min(1_000, 25 * 2 ** Math.min(times, 6)),
  reconnectOnError: isReplica,
};

/** Whether the server takes no writes: after a failover the connection of before leads to what is a replica now. */
export function isReplica({ message }: Error): boolean {
  return message.startsWith('READONLY');
}

function nameOf(script: string): string {
  return `nestBatching${script}`;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
