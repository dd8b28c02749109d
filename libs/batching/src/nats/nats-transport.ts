import { connect, type NatsConnection, type NodeConnectionOptions } from '@nats-io/transport-node';
import { checkCount, checkType, show } from '../core/checks.js';
import { type BrokerParts, BrokerTransport } from '../transport/broker-transport.js';
import { msgpackCodec } from '../transport/msgpack-codec.js';
import { resolveSettings, type ResolvedSettings, type TransportSettings } from '../transport/settings.js';
import type { Transport, TransportContext, TransportState } from '../transport/transport.js';
import { readJson } from './frames.js';
import { Names } from './names.js';
import { NatsCaller } from './nats-caller.js';
import { type Connecting, NatsLink } from './nats-link.js';
import { NatsNodes, writeBeat } from './nats-nodes.js';
import { NatsServer } from './nats-server.js';

export interface NatsTransportOptions extends TransportSettings {
  /**
   * `nats://user:password@host:port`, or `tls://…`; several of a cluster separated by commas. Default: `nats://127.0.0.1:4222`.
   */
  url?: string | undefined;
  /**
   * Options of `connect` of `@nats-io/transport-node` (`tls`, `authenticator`, `user`, …), or a connection of yours, which is
   * shared and not closed.
   */
  connection?: NodeConnectionOptions | NatsConnection | undefined;
  /**
   * Begins all subjects and streams; applications with different ones share a broker without meeting. Letters, digits, `-` and `_`.
   * Default `nest-batching`.
   */
  prefix?: string | undefined;
  /** Copies of the stream of each service in a cluster, from 1 to 5. With 1, what waits is sent again when a server is lost. Default 1. */
  replicas?: number | undefined;
  /** Domain of JetStream, where leaf nodes have several. */
  domain?: string | undefined;
}

/** How long JetStream keeps the consumer of a service without nodes, in milliseconds. */
const KEEP = 60_000;

/**
 * Carries inputs between nodes over NATS with JetStream (2.9 or later): a stream in memory and a consumer per service. Needs
 * `@nats-io/transport-node`, `@nats-io/jetstream` and `msgpackr`.
 *
 * ```ts
 * BatchingModule.forRoot({ transport: natsTransport({ url: process.env.NATS_URL }), remote: [DigitClassifier] })
 * ```
 *
 * @throws TypeError or RangeError for an invalid option
 */
export function natsTransport(options: NatsTransportOptions = {}): Transport {
  const { url, connection, prefix = 'nest-batching', replicas = 1, domain } = options;
  const { servers, ...fromUrl } = url === undefined ? {} : readUrl(url);
  if (!/^[\w-]{1,64}$/.test(checkType('prefix', 'string', prefix))) {
    throw new RangeError(`prefix: expected 1 to 64 letters, digits, - or _, got ${show(prefix)}`);
  }
  checkCount('replicas', replicas, 1);
  if (replicas > 5) throw new RangeError(`replicas: expected at most 5, got ${replicas}`);
  if (domain !== undefined && !/^[\w-]+$/.test(checkType('domain', 'string', domain))) {
    throw new RangeError(`domain: expected letters, digits, - or _, got ${show(domain)}`);
  }
  if (connection !== undefined && (typeof connection !== 'object' || (connection as unknown) === null)) {
    throw new TypeError(
      `connection: expected options of connect() or a connection of @nats-io/transport-node, got ${show(connection)}`,
    );
  }
  if (url !== undefined && isConnection(connection)) {
    throw new TypeError('url: expected none beside a connection, which has one of its own');
  }
  const connecting: Connecting = {
    connect: isConnection(connection)
      ? () => Promise.resolve(connection)
      : () => connect({ ...DEFAULTS, ...fromUrl, ...connection, ...(servers && { servers }), ...ALWAYS }),
    isShared: isConnection(connection),
    replicas,
    domain,
  };
  return new NatsTransport(connecting, new Names(prefix), resolveSettings(options));
}

const DEFAULTS: NodeConnectionOptions = {
  name: 'nest-batching',
  timeout: 5_000,
  reconnectTimeWait: 250,
  reconnectJitter: 250,
};

/** It connects again for as long as it is open. */
const ALWAYS: NodeConnectionOptions = {
  reconnect: true,
  maxReconnectAttempts: -1,
  waitOnFirstConnect: false,
  noAsyncTraces: true,
};

function readUrl(text: string): NodeConnectionOptions {
  const parts = typeof text === 'string' ? text.split(',').map((each) => each.trim()) : [];
  const isValid =
    parts.length > 0 && parts.every((each) => /^(nats|tls):\/\/[^/]/.test(each) && URL.canParse(each));
  if (!isValid) throw new TypeError(`url: expected 'nats://…' or 'tls://…', got ${hide(text)}`);
  const urls = parts.map((each) => new URL(each));
  const [first] = urls;
  const user = decodeURIComponent(first?.username ?? '');
  const pass = decodeURIComponent(first?.password ?? '');
  return {
    servers: urls.map(({ hostname, port }) => `${hostname}:${port === '' ? '4222' : port}`),
    ...(pass === '' ? user !== '' && { token: user } : { user, pass }),
    ...(urls.some(({ protocol }) => protocol === 'tls:') && { tls: {} }),
  };
}

/** Without what may be a password. */
function hide(url: unknown): string {
  return typeof url === 'string' ? show(url.replace(/\/\/[^@,]*@/g, '//…@')) : show(url);
}

function isConnection(
  connection: NodeConnectionOptions | NatsConnection | undefined,
): connection is NatsConnection {
  return typeof (connection as Partial<NatsConnection> | undefined)?.publish === 'function';
}

/** What it has once it is open. */
interface Parts extends BrokerParts {
  readonly link: NatsLink;
  readonly nodes: NatsNodes;
  readonly caller: NatsCaller;
  readonly server: NatsServer;
}

/** A node on NATS. Its signs of life are messages to all. */
class NatsTransport extends BrokerTransport<Parts> {
  #timer: NodeJS.Timeout | undefined;
  #isBeating = false;

  constructor(
    private readonly connecting: Connecting,
    private readonly names: Names,
    private readonly settings: ResolvedSettings,
  ) {
    super('nats');
  }

  protected connect(context: TransportContext): Parts {
    const { node, names } = this;
    const { redeliverAfter, maxDeliver } = this.settings;
    const link = new NatsLink(this.connecting, context, {
      connected: () => {
        this.#connected();
      },
      disconnected: () => {
        caller.disconnected();
      },
    });
    const nodes = new NatsNodes(redeliverAfter);
    const common = { codec: msgpackCodec, context, maxPayload: link.maxPayload };
    const caller = new NatsCaller(link, names, nodes, this.settings, { node, ...common });
    const kept = { redeliverAfter, keep: Math.max(KEEP, 20 * redeliverAfter) };
    const server = new NatsServer(node, link, names, nodes, kept, { ...common, maxDeliver }, () => {
      this.#beat();
    });
    link.subscribe(names.beats, ({ data }) => {
      nodes.take(readJson(data));
    });
    link.subscribe(names.asks, () => {
      this.#beatSoon();
    });
    return { link, nodes, caller, server };
  }

  protected async disconnect({ link }: Parts): Promise<void> {
    await link.flush(this.settings.redeliverAfter);
    await link.close();
  }

  /** Four signs of life in the time after which silence means death. */
  protected startTicking(): void {
    const interval = Math.min(1_000, this.settings.redeliverAfter / 4);
    this.#timer = setInterval(() => {
      this.#tick();
    }, interval);
  }

  protected stopTicking(): void {
    clearInterval(this.#timer);
  }

  override state(): TransportState {
    const { nodes, server } = this.parts;
    // What this node itself has is known better than from its last beat.
    if (this.isConnected) nodes.take(JSON.parse(writeBeat(this.node, server.description)));
    return super.state();
  }

  #connected(): void {
    const { link, nodes, caller, server } = this.parts;
    nodes.reset();
    link.publish(this.names.asks);
    caller.connected();
    server.connected();
  }

  #tick(): void {
    const { link, caller, server } = this.parts;
    caller.tick();
    if (!link.isReady) return;
    server.tick();
    this.#beat();
    void link.check(2 * this.settings.redeliverAfter);
  }

  #beat(): void {
    const { link, nodes, server } = this.parts;
    if (!link.isReady || server.serviceNames.length === 0) return;
    const beat = writeBeat(this.node, server.description);
    link.publish(this.names.beats, beat);
    // It does not come back on a connection of the user's without echo.
    nodes.take(JSON.parse(beat));
  }

  /** Many nodes may ask at once. */
  #beatSoon(): void {
    if (this.#isBeating) return;
    this.#isBeating = true;
    setTimeout(() => {
      this.#isBeating = false;
      this.#beat();
    }, 50);
  }
}
