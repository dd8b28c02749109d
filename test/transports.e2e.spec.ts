import { describe } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { Redis } from 'ioredis';
import type { Transport } from 'nest-batching';
import { natsTransport } from 'nest-batching/nats';
import { redisTransport } from 'nest-batching/redis';
import { MemoryBroker, memoryTransport } from 'nest-batching/testing';
import { natsPrograms, NatsServer } from './nats-server.js';
import { hasRedis, RedisServer } from './redis-server.js';
import { TcpProxy } from './tcp-proxy.js';
import {
  type BrokerHarness,
  conforms,
  conformsOverBroker,
  type Harness,
  MAX_DELIVER,
  NO_NODE_TIMEOUT,
  REDELIVER_AFTER,
} from './transport-conformance.js';

const settings = {
  redeliverAfter: REDELIVER_AFTER,
  noNodeTimeout: NO_NODE_TIMEOUT,
  maxDeliver: MAX_DELIVER,
  // A broker that is started again may take seconds on a busy machine.
  awayTimeout: 30_000,
};

describe('the transport in memory', () => {
  conforms(() => {
    const broker = new MemoryBroker();
    const crashes = new Map<Transport, () => void>();
    const harness: Harness = {
      node: (own) => {
        const node = memoryTransport({ ...settings, ...own, broker });
        crashes.set(node, () => {
          node.crash();
        });
        return node;
      },
      kill: (node) => {
        crashes.get(node)?.();
      },
      end: () => Promise.resolve(),
    };
    return Promise.resolve(harness);
  });
});

/** Gives each node a way of its own to the broker. */
class Proxies {
  readonly #ofNodes = new Map<Transport, TcpProxy>();

  constructor(private readonly port: number) {}

  async node(create: (port: number) => Transport): Promise<Transport> {
    const proxy = await TcpProxy.start(this.port);
    const node = create(proxy.port);
    this.#ofNodes.set(node, proxy);
    return node;
  }

  kill(node: Transport): void {
    this.#ofNodes.get(node)?.cut();
  }

  freeze(node: Transport): () => void {
    const proxy = this.#ofNodes.get(node);
    proxy?.freeze();
    return () => {
      proxy?.thaw();
    };
  }

  interrupt(node: Transport): void {
    this.#ofNodes.get(node)?.interrupt();
  }

  async end(): Promise<void> {
    await Promise.all(Array.from(this.#ofNodes.values(), (proxy) => proxy.stop()));
  }
}

const withRedis = hasRedis('the transport over Redis') ? describe : describe.skip;

withRedis('the transport over Redis', () => {
  conformsOverBroker(async () => {
    const server = await RedisServer.start();
    const proxies = new Proxies(server.port);
    const maxPayload = 100_000;
    const redis = new Redis(server.url, { lazyConnect: true });
    const harness: BrokerHarness = {
      node: (own) =>
        proxies.node((port) =>
          redisTransport({ ...settings, ...own, maxPayload, url: `redis://127.0.0.1:${port}` }),
        ),
      kill: (node) => {
        proxies.kill(node);
      },
      freeze: (node) => proxies.freeze(node),
      interrupt: (node) => {
        proxies.interrupt(node);
      },
      restart: () => server.restart(),
      held: async () => {
        const keys = await redis.keys('*');
        const sizes = await Promise.all(keys.map((key) => redis.memory('USAGE', key)));
        return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
      },
      tooLarge: new Uint8Array(maxPayload + 1),
      end: async () => {
        redis.disconnect();
        await proxies.end();
        await server.stop();
      },
    };
    return harness;
  });
});

for (const program of natsPrograms('the transport over NATS')) {
  describe(`the transport over NATS ${program.version}`, () => {
    conformsOverBroker(async () => {
      const server = await NatsServer.start(program);
      const proxies = new Proxies(server.port);
      const connection = await connect({ servers: server.url, maxReconnectAttempts: -1 });
      const manager = await jetstreamManager(connection);
      const harness: BrokerHarness = {
        node: (own) =>
          proxies.node((port) => natsTransport({ ...settings, ...own, url: `nats://127.0.0.1:${port}` })),
        kill: (node) => {
          proxies.kill(node);
        },
        freeze: (node) => proxies.freeze(node),
        interrupt: (node) => {
          proxies.interrupt(node);
        },
        restart: () => server.restart(),
        held: async () => (await manager.getAccountInfo()).memory,
        tooLarge: new Uint8Array(2 ** 20),
        end: async () => {
          await connection.close();
          await proxies.end();
          await server.stop();
        },
      };
      return harness;
    });
  });
}
