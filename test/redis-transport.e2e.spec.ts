import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import type { OnInput, Transport } from 'nest-batching';
import { redisTransport, type RedisTransportOptions } from 'nest-batching/redis';
import { SelfMadeCertificate } from './certificate.js';
import { freePort } from './local-server.js';
import { hasRedis, RedisServer } from './redis-server.js';
import { TcpProxy } from './tcp-proxy.js';

describe('redisTransport', () => {
  it.each<[RedisTransportOptions, string]>([
    [{ url: 'http://u:secret@host' }, "url: expected 'redis://…' or 'rediss://…', got 'http://…@host'"],
    [{ url: 5 as never }, "url: expected 'redis://…' or 'rediss://…', got 5"],
    [{ prefix: '' }, "prefix: expected a text, got ''"],
    [{ maxPayload: 0 }, 'maxPayload: expected an integer ≥ 1 or Infinity, got 0'],
    [{ maxPayload: Infinity }, 'maxPayload: expected at most 536870912'],
    [{ connection: 'host' as never }, "connection: expected options of ioredis or a Redis of it, got 'host'"],
    [{ redeliverAfter: 50 }, 'redeliverAfter: expected at least 100 ms, got 50'],
    [{ maxDeliver: 0 }, 'maxDeliver: expected an integer ≥ 1 or Infinity, got 0'],
    [{ noNodeTimeout: -1 }, 'noNodeTimeout: expected milliseconds ≥ 0, got -1'],
    [{ awayTimeout: '5' as never }, "awayTimeout: expected a number of milliseconds, got '5'"],
  ])('refuses %p', (options, message) => {
    expect(() => redisTransport(options)).toThrow(message);
  });

  it('refuses a Cluster by name', () => {
    const cluster = new Cluster([{ port: 1 }], { lazyConnect: true });
    expect(() => redisTransport({ connection: cluster as never })).toThrow('Redis Cluster is not supported');
    cluster.disconnect();
  });
});

const withRedis = hasRedis('the transport over Redis, with a Redis that misbehaves')
  ? describe
  : describe.skip;

withRedis('the transport over Redis', () => {
  let server: RedisServer;
  let redis: Redis;
  const opened: Transport[] = [];
  const warnings: string[] = [];

  beforeEach(async () => {
    server = await RedisServer.start();
    redis = new Redis(server.url);
  });

  afterEach(async () => {
    await Promise.all(opened.splice(0).map((each) => each.close()));
    redis.disconnect();
    await server.stop();
    warnings.length = 0;
  });

  function node(options: RedisTransportOptions = {}): Transport {
    const transport = redisTransport({
      url: server.url,
      redeliverAfter: 400,
      noNodeTimeout: 2_000,
      awayTimeout: 1000,
      ...options,
    });
    transport.open({ errors: new Map(), warn: (_, sentence) => void warnings.push(sentence) });
    opened.push(transport);
    return transport;
  }

  function serving(onInput: OnInput, options?: RedisTransportOptions, prefetch = 16): Transport {
    const transport = node(options);
    transport.serve('service', { prefetch, maxQueued: 1000 }, onInput);
    return transport;
  }

  const echo: OnInput = (input) => Promise.resolve(input);
  const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
  const outcome = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

  async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
    const end = performance.now() + 30_000;
    while (!(await holds())) {
      if (performance.now() > end) throw new Error('it has not come about');
      await sleep(10);
    }
  }

  it('keeps applications with different prefixes apart', async () => {
    serving(() => Promise.resolve('a'), { prefix: 'a' });
    serving(() => Promise.resolve('b'), {
      connection: new Redis(server.url, { keyPrefix: 'x:', lazyConnect: true }),
      url: undefined,
      prefix: 'b',
    });
    expect(await node({ prefix: 'a' }).call('service', 1)).toBe('a');
    expect(await node({ prefix: 'x:b' }).call('service', 1)).toBe('b');
    expect((await redis.keys('*')).every((key) => /^(a|x:b):/.test(key))).toBe(true);
  });

  it('connects with TLS to a server whose certificate is of a CA of yours', async () => {
    const own = await SelfMadeCertificate.make();
    const port = await freePort();
    const files = {
      'tls-cert-file': own.certificate,
      'tls-key-file': own.key,
      'tls-ca-cert-file': own.certificate,
    };
    const secured = await RedisServer.start({ ...files, 'tls-port': String(port), 'tls-auth-clients': 'no' });
    try {
      const url = `rediss://127.0.0.1:${port}`;
      const connection = { tls: { ca: await readFile(own.certificate, 'utf8') } };
      serving(echo, { url, connection });
      expect(await node({ url, connection }).call('service', 1)).toBe(1);
      expect(warnings).toEqual([]);
      const trusting = node({ url });
      expect(await outcome(trusting.call('service', 1))).toMatchObject({ code: 'ERR_BATCHING_TRANSPORT' });
      expect(warnings.join()).toMatch(/self-signed certificate/);
    } finally {
      await Promise.all(opened.splice(0).map((each) => each.close()));
      await secured.stop();
      await own.remove();
    }
  });

  it('goes on with the replica that Sentinel has take the place of a server that crashed, and loses no call', async () => {
    // Else it waits for further replicas.
    await redis.config('SET', 'repl-diskless-sync-delay', '0');
    const replica = await RedisServer.start({ replicaof: `127.0.0.1 ${server.port}` });
    const ofReplica = new Redis(replica.url);
    await until(async () => (await ofReplica.info('replication')).includes('master_link_status:up'));
    const sentinel = await RedisServer.startSentinel(server);
    const ofSentinel = new Redis(sentinel.url);
    try {
      await until(
        async () => ((await ofSentinel.call('SENTINEL', 'REPLICAS', 'main')) as unknown[]).length === 1,
      );
      const sentinels = [{ host: '127.0.0.1', port: sentinel.port }];
      // A failover takes some seconds; inputs of a machine that is busy still more.
      const options = {
        url: undefined,
        connection: { sentinels, name: 'main' },
        awayTimeout: 30_000,
        noNodeTimeout: 30_000,
      };
      const caller = node(options);
      serving(async (input) => {
        await sleep(20);
        return input;
      }, options);
      expect(await caller.call('service', 'before')).toBe('before');
      const calls = numbers(200).map((each) => caller.call('service', each));
      await server.kill();
      expect(await Promise.all(calls)).toEqual(numbers(200));
      expect(await ofReplica.role()).toMatchObject({ 0: 'master' });
    } finally {
      await Promise.all(opened.splice(0).map((each) => each.close()));
      ofReplica.disconnect();
      ofSentinel.disconnect();
      await Promise.all([sentinel.stop(), replica.stop()]);
    }
  }, 60_000);

  it('goes over to the new server when the one that it is connected to has become a replica, and loses no call', async () => {
    const other = await RedisServer.start();
    const proxy = await TcpProxy.start(server.port);
    try {
      const url = `redis://127.0.0.1:${proxy.port}`;
      const caller = node({ url, awayTimeout: 20_000 });
      serving(
        async (input) => {
          await sleep(20);
          return input;
        },
        { url },
      );
      expect(await caller.call('service', 'before')).toBe('before');
      const calls = numbers(100).map((each) => caller.call('service', each));
      proxy.redirect(other.port);
      await redis.replicaof('127.0.0.1', other.port);
      expect(await Promise.all(calls)).toEqual(numbers(100));
      expect((await redis.role())[0]).toBe('slave');
    } finally {
      await Promise.all(opened.splice(0).map((each) => each.close()));
      await Promise.all([proxy.stop(), other.stop()]);
    }
  }, 60_000);

  it('says that a server takes no writes, and ends calls within the time stated', async () => {
    await redis.replicaof('127.0.0.1', 1);
    const error = await outcome(node().call('service', 1));
    expect(error).toMatchObject({
      code: 'ERR_BATCHING_TRANSPORT',
      message: expect.stringMatching(/Redis has been away for 1\d{3} ms/) as unknown,
    });
    expect(warnings.join()).toContain("READONLY You can't write against a read only replica");
  });

  it('refuses a Cluster of one server that is reached by its url', async () => {
    const cluster = await RedisServer.start({ 'cluster-enabled': 'yes' });
    const own = new Redis(cluster.url);
    try {
      await own.cluster('ADDSLOTSRANGE', 0, 16_383);
      await until(async () => (await own.cluster('INFO')).includes('cluster_state:ok'));
      const error = await outcome(node({ url: cluster.url }).call('service', 1));
      expect(error).toMatchObject({
        code: 'ERR_BATCHING_TRANSPORT',
        message: expect.stringContaining('Redis Cluster is not supported') as unknown,
      });
      expect(warnings.join()).toContain('Redis Cluster is not supported');
    } finally {
      own.disconnect();
      await Promise.all(opened.splice(0).map((each) => each.close()));
      await cluster.stop();
    }
  });

  it('closes within some seconds when Redis has fallen silent', async () => {
    const proxy = await TcpProxy.start(server.port);
    try {
      const caller = node({ url: `redis://127.0.0.1:${proxy.port}` });
      serving(echo);
      await caller.call('service', 1);
      proxy.freeze();
      let isClosed = false;
      void caller.close().then(() => (isClosed = true));
      await until(() => isClosed);
    } finally {
      await proxy.stop();
    }
  });

  it('connects with a user and a password', async () => {
    await redis.acl(
      'SETUSER',
      'app',
      'on',
      '>secret',
      '~nb:*',
      '&nb:*',
      '+@all',
      '-@dangerous',
      '-@admin',
      '+client',
      '+info',
    );
    const url = server.url.replace('//', '//app:secret@');
    serving(echo, { url, prefix: 'nb' });
    expect(await node({ url, prefix: 'nb' }).call('service', 1)).toBe(1);
    const refused = node({ url: url.replace('secret', 'wrong') });
    expect(await outcome(refused.call('service', 1))).toMatchObject({ code: 'ERR_BATCHING_TRANSPORT' });
    expect(warnings.join()).toMatch(/WRONGPASS/);
  });

  it('reads many inputs at once and writes many answers at once', async () => {
    const caller = node();
    serving(echo, {}, 1024);
    await caller.call('service', 0);
    await redis.config('RESETSTAT');
    await Promise.all(numbers(1000).map((each) => caller.call('service', each)));
    const calls = async (command: string) => {
      const stats = await redis.info('commandstats');
      return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
    };
    expect(await calls('xreadgroup')).toBeLessThan(20);
    expect(await calls('evalsha')).toBeLessThan(60);
    expect(await calls('xack')).toBeLessThan(20);
  });

  it('answers what it can of bytes that nobody can read, discards the rest, and goes on', async () => {
    const caller = node();
    serving(echo);
    expect(await caller.call('service', 1)).toBe(1);
    const inputs = 'nest-batching:inputs:service';
    for (const message of ['', 'x', Buffer.alloc(300, 255)]) await redis.xadd(inputs, '*', 'p', message);
    await redis.xadd(inputs, '*', 'other', 'field');
    await redis.xadd(inputs, '*', 'p', Buffer.from([1, 1, 97, 0, 0, 0, 1, 0, 0xc1]));
    await redis.publish('nest-batching:cancels', 'no JSON');
    await redis.publish('nest-batching:cancels', '[[1,2,3],["service"],null]');
    await redis.zadd('nest-batching:nodes', Date.now(), 'strange');
    await redis.set('nest-batching:node:strange', '{"services":{"service":["x"]}}');
    const answers = `nest-batching:answers:${caller.state().node}`;
    for (const answer of ['', 'abc', Buffer.from([9, 0, 0, 0, 1, 0])])
      await redis.xadd(answers, '*', 'a', answer, 'm', answer);
    expect(await caller.call('service', 2)).toBe(2);
    await until(async () => (await redis.xlen(inputs)) === 0);
    expect(
      warnings.some((line) => line.includes('service: an input was discarded that cannot be read')),
    ).toBe(true);
  });

  it('says in which version an input came that a node does not read', async () => {
    serving(echo);
    const caller = node();
    await caller.call('service', 1);
    // As a caller of a later version would write it.
    const { node: name } = caller.state();
    const pending = outcome(caller.call('other', 1, { timeout: 5000 }));
    await until(async () => (await redis.xlen('nest-batching:inputs:other')) === 1);
    const entries = await redis.xrangeBuffer('nest-batching:inputs:other', '-', '+');
    const later = Buffer.from(entries[0]?.[1][1] ?? Buffer.of());
    later[0] = 2;
    await redis.xadd('nest-batching:inputs:service', '*', 'p', later);
    expect(await pending).toMatchObject({
      code: 'ERR_BATCHING_PAYLOAD',
      message: expect.stringContaining(
        'a node wrote version 2 of the format, and its node reads 1',
      ) as unknown,
    });
    expect(name).toMatch(/^[0-9a-f]{16}$/);
  });

  it('does not take for lost what a node has given back, however long it takes', async () => {
    const caller = node();
    const first = serving(() => new Promise(() => undefined));
    const call = caller.call('service', 1);
    await until(() => first.state().services[0]?.nodes[0]?.inProgress === 1);
    let runs = 0;
    const slow: OnInput = async (input) => {
      runs++;
      // Longer than a call waits until it looks for its input.
      await sleep(6500);
      return input;
    };
    serving(slow, {}, 1);
    await first.drain({ timeout: 0 });
    await until(() => runs === 1);
    // It would get what is sent again.
    serving(slow);
    expect(await call).toBe(1);
    expect(runs).toBe(1);
  });

  it('sends again an input whose entry is gone', async () => {
    const caller = node();
    let release: () => void = () => undefined;
    serving(
      async (input) => {
        if (input === 1) await new Promise<void>((resolve) => (release = resolve));
        return input;
      },
      {},
      1,
    );
    const held = caller.call('service', 1);
    const lost = caller.call('service', 2);
    const inputs = 'nest-batching:inputs:service';
    await until(async () => (await redis.xlen(inputs)) === 2);
    const [, second] = await redis.xrange(inputs, '-', '+');
    await redis.xdel(inputs, second?.[0] ?? '');
    await until(async () => (await redis.xlen(inputs)) === 2);
    release();
    expect(await Promise.all([held, lost])).toEqual([1, 2]);
  });

  it('sends again what FLUSHALL has taken, without a loss of the connection', async () => {
    const caller = node();
    serving(
      async (input) => {
        await sleep(20);
        return input;
      },
      {},
      4,
    );
    await caller.call('service', 0);
    const calls = numbers(100).map((each) => caller.call('service', each));
    await sleep(50);
    await redis.flushall();
    expect(await Promise.all(calls)).toEqual(numbers(100));
  });

  it('ends calls that Redis has no memory for, and loses no answer for want of it', async () => {
    const caller = node();
    let release: () => void = () => undefined;
    let isHeld = false;
    serving((input) => {
      isHeld = true;
      return new Promise((resolve) => {
        release = () => {
          resolve(input);
        };
      });
    });
    const call = caller.call('service', 'held');
    await until(() => isHeld);
    await redis.config('SET', 'maxmemory', '1');
    expect(await outcome(caller.call('service', 1))).toMatchObject({
      code: 'ERR_BATCHING_TRANSPORT',
      message: expect.stringContaining('OOM') as unknown,
    });
    release();
    await sleep(300);
    await redis.config('SET', 'maxmemory', '0');
    expect(await call).toBe('held');
  });

  it('lets everything of nodes expire that are gone', async () => {
    const caller = node();
    serving(echo);
    await caller.call('service', 1);
    const keys = await redis.keys('*');
    expect(keys.length).toBeGreaterThanOrEqual(4);
    for (const key of keys) {
      const left = await redis.pttl(key);
      expect([key, left > 0 && left <= 60_000]).toEqual([key, true]);
    }
  });

  it('removes the consumers of nodes that have died or left', async () => {
    const caller = node();
    const first = serving(echo);
    await caller.call('service', 1);
    await redis.xreadgroup(
      'GROUP',
      'nodes',
      'dead',
      'COUNT',
      1,
      'STREAMS',
      'nest-batching:inputs:service',
      '>',
    );
    await first.close();
    serving(echo);
    await caller.call('service', 1);
    await until(async () => {
      const consumers = (await redis.xinfo(
        'CONSUMERS',
        'nest-batching:inputs:service',
        'nodes',
      )) as unknown[];
      return consumers.length === 1;
    });
  });

  it('works on after the Lua scripts were removed', async () => {
    const caller = node();
    serving(echo);
    expect(await caller.call('service', 1)).toBe(1);
    await redis.script('FLUSH');
    expect(await caller.call('service', 2)).toBe(2);
  });
});
