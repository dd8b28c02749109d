import { Redis, type RedisOptions } from 'ioredis';
import { checkCount, checkType, show } from '../core/checks.js';
import { type BrokerParts, BrokerTransport } from '../transport/broker-transport.js';
import { msgpackCodec } from '../transport/msgpack-codec.js';
import { resolveSettings, type ResolvedSettings, type TransportSettings } from '../transport/settings.js';
import type { Transport, TransportContext } from '../transport/transport.js';
import { Keys } from './keys.js';
import { CLUSTER, explain, ignore, isRefusal, isReplyError, RedisCaller } from './redis-caller.js';
import { RedisLink } from './redis-link.js';
import { RedisNodes } from './redis-nodes.js';
import { RedisServer } from './redis-server.js';

export interface RedisTransportOptions extends TransportSettings {
  /** `redis://user:password@host:port/db`, or `rediss://…` for TLS. Default: `redis://127.0.0.1:6379`. */
  url?: string | undefined;
  /**
   * Options of ioredis (`tls`, `sentinels`, `username`, …), or a `Redis` of yours: connections are made with its
   * settings, as some wait in Redis for something to read, and yours is not used itself.
   */
  connection?: RedisOptions | Redis | undefined;
  /** Begins all keys and channels; applications with different ones share a broker without meeting. Default `nest-batching`. */
  prefix?: string | undefined;
  /** Most bytes of one input or result, an integer ≥ 1. Default 32 MiB; Redis takes 512 MiB at most. */
  maxPayload?: number | undefined;
}

/** How long Redis keeps what belongs to a node after its last sign of life, in milliseconds. */
const KEEP = 60_000;
/** Most bytes that Redis takes as one value. */
const LARGEST_VALUE = 512 * 2 ** 20;

/**
 * Carries inputs between nodes over Redis (7.0 or later) or Valkey, with Streams and a consumer group per service. Needs
 * `ioredis` and `msgpackr`. Redis Cluster is refused.
 *
 * ```ts
 * BatchingModule.forRoot({ transport: redisTransport({ url: process.env.REDIS_URL }), remote: [DigitClassifier] })
 * ```
 *
 * @throws TypeError or RangeError for an invalid option
 */
export function redisTransport(options: RedisTransportOptions = {}): Transport {
  const { url, connection, prefix = 'nest-batching', maxPayload = 32 * 2 ** 20 } = options;
  if (url !== undefined) checkUrl(url);
  if (checkType('prefix', 'string', prefix) === '') throw new RangeError("prefix: expected a text, got ''");
  checkCount('maxPayload', maxPayload, 1);
  if (maxPayload > LARGEST_VALUE) {
    throw new RangeError(
      `maxPayload: expected at most ${LARGEST_VALUE} (512 MiB, the limit of Redis), got ${maxPayload}`,
    );
  }
  if (isCluster(connection)) throw new TypeError(`connection: ${CLUSTER}`);
  if (connection !== undefined && (typeof connection !== 'object' || (connection as unknown) === null)) {
    throw new TypeError(`connection: expected options of ioredis or a Redis of it, got ${show(connection)}`);
  }
  if (url !== undefined && isRedis(connection)) {
    throw new TypeError('url: expected none beside a Redis as connection, which has one of its own');
  }
  const given = isRedis(connection) ? connection.options : connection;
  const keyPrefix = given?.keyPrefix ?? '';
  const create = (own: RedisOptions): Redis => {
    // Keys are written with their prefix: scripts build some themselves.
    const all = { ...own, keyPrefix: '' };
    if (isRedis(connection)) return connection.duplicate<RedisOptions>(all);
    return url === undefined
      ? new Redis({ ...connection, ...all })
      : new Redis(url, { ...connection, ...all });
  };
  return new RedisTransport(create, new Keys(keyPrefix + prefix), resolveSettings(options), maxPayload);
}

function checkUrl(url: string): void {
  const isUrl = typeof url === 'string' && /^rediss?:\/\//.test(url) && URL.canParse(url);
  if (!isUrl) throw new TypeError("url: expected 'redis://…' or 'rediss://…', got " + hide(url));
}

/** Without what may be a password. */
function hide(url: unknown): string {
  return typeof url === 'string' ? show(url.replace(/\/\/[^@]*@/, '//…@')) : show(url);
}

function isRedis(connection: unknown): connection is Redis {
  return typeof (connection as Partial<Redis> | undefined)?.duplicate === 'function';
}

function isCluster(connection: unknown): boolean {
  return (connection as { isCluster?: unknown } | undefined)?.isCluster === true;
}

/** What it has once it is open. */
interface Parts extends BrokerParts {
  readonly link: RedisLink;
  readonly nodes: RedisNodes;
  readonly caller: RedisCaller;
  readonly server: RedisServer;
}

/** A node on Redis. Its signs of life are entries of a sorted set, read by all. */
class RedisTransport extends BrokerTransport<Parts> {
  #timer: NodeJS.Timeout | undefined;
  #isTicking = false;
  #beating: Promise<boolean | undefined> | undefined;

  constructor(
    private readonly create: (options: RedisOptions) => Redis,
    private readonly keys: Keys,
    private readonly settings: ResolvedSettings,
    private readonly maxPayload: number,
  ) {
    super('redis');
  }

  protected connect(context: TransportContext): Parts {
    const { node, keys } = this;
    const link = new RedisLink(this.create, context);
    const nodes = new RedisNodes(this.settings.redeliverAfter);
    const settings = { ...this.settings, keep: this.#keep };
    const common = { codec: msgpackCodec, context, maxPayload: () => this.maxPayload };
    const caller = new RedisCaller(link, keys, nodes, settings, { node, ...common });
    const served = { ...common, maxDeliver: this.settings.maxDeliver };
    const server = new RedisServer(node, link, keys, nodes, settings, served, async () => {
      await this.#beat();
    });
    link.commands.on('ready', () => void this.#connected());
    link.commands.on('close', () => {
      caller.disconnected();
    });
    return { link, nodes, caller, server };
  }

  protected disconnect({ link }: Parts): void {
    link.close();
  }

  protected startTicking(): void {
    this.#isTicking = true;
    this.#tickSoon();
  }

  protected stopTicking(): void {
    this.#isTicking = false;
    clearTimeout(this.#timer);
  }

  get #keep(): number {
    return Math.max(KEEP, 20 * this.settings.redeliverAfter);
  }

  async #connected(): Promise<void> {
    const { caller, server } = this.parts;
    await this.#beat();
    await caller.connected();
    server.connected();
  }

  /** Four signs of life in the time after which silence means death. */
  #tickSoon(): void {
    if (!this.#isTicking) return;
    const interval = Math.min(1_000, this.settings.redeliverAfter / 4);
    this.#timer = setTimeout(() => {
      void this.#tick().finally(() => {
        this.#tickSoon();
      });
    }, interval);
  }

  async #tick(): Promise<void> {
    const { caller, server, link } = this.parts;
    const hasAnswers = await this.#beat();
    await caller.tick(hasAnswers).catch(ignore);
    if (link.isReady) await server.tick().catch(ignore);
  }

  /** @returns whether the stream of answers is there; `undefined` if Redis has not answered */
  #beat(): Promise<boolean | undefined> {
    this.#beating ??= this.#sign().finally(() => {
      this.#beating = undefined;
    });
    return this.#beating;
  }

  async #sign(): Promise<boolean | undefined> {
    const { link, nodes, caller, server } = this.parts;
    if (!link.isReady) return undefined;
    const { services } = this;
    const { redeliverAfter } = this.settings;
    const askedAt = performance.now();
    // A connection that has died without a word is made anew.
    const timer = setTimeout(() => {
      link.reconnect();
    }, 2 * redeliverAfter);
    try {
      const inputs = services.map((service) => this.keys.inputs(service));
      const reply = await link.run(
        'beat',
        [this.keys.nodes, caller.answersKey, ...inputs],
        [this.node, server.description, 10 * redeliverAfter, this.#keep, this.keys.nodePrefix],
      );
      return nodes.read(reply, services, askedAt);
    } catch (error) {
      if (isReplyError(error)) {
        link.warn(
          'redis beat',
          `Redis refuses the signs of life of this node: ${explain(error)}; trying again`,
        );
      }
      // No node was ever known, and none will be.
      if (isRefusal(error) && !nodes.isKnown) caller.refuseAll(error);
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}
