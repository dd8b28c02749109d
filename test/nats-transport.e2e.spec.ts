import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { connect, headers, type NatsConnection } from '@nats-io/transport-node';
import type { OnInput, Transport } from 'nest-batching';
import { natsTransport, type NatsTransportOptions } from 'nest-batching/nats';
import { SelfMadeCertificate } from './certificate.js';
import { freePort } from './local-server.js';
import { type NatsProgram, natsPrograms, NatsServer } from './nats-server.js';
import { TcpProxy } from './tcp-proxy.js';

const STREAM = 'nest-batching=service';
const INPUTS = 'nest-batching.inputs.service';

const programs = natsPrograms('the transport over NATS, with a NATS that misbehaves').map(
  (program): [string, NatsProgram] => [program.version, program],
);
const withNats = programs.length > 0 ? describe : describe.skip;

withNats.each(programs)('the transport over NATS %s', (_, program) => {
  let server: NatsServer;
  const opened: Transport[] = [];
  const connections: NatsConnection[] = [];
  const warnings: string[] = [];

  afterEach(async () => {
    await Promise.all(opened.splice(0).map((each) => each.close()));
    await Promise.all(connections.splice(0).map((each) => each.close()));
    await server.stop();
    warnings.length = 0;
  });

  async function start(configuration?: string): Promise<void> {
    server = await NatsServer.start(program, configuration);
  }

  async function connection(): Promise<NatsConnection> {
    const own = await connect({ servers: server.url, maxReconnectAttempts: -1, reconnectTimeWait: 20 });
    connections.push(own);
    return own;
  }

  async function manager(): Promise<JetStreamManager> {
    return jetstreamManager(await connection());
  }

  function node(options: NatsTransportOptions = {}): Transport {
    const transport = natsTransport({
      ...(!('publish' in (options.connection ?? {})) && { url: server.url }),
      redeliverAfter: 400,
      noNodeTimeout: 2_000,
      awayTimeout: 1000,
      ...options,
    });
    transport.open({ errors: new Map(), warn: (_kind, sentence) => void warnings.push(sentence) });
    opened.push(transport);
    return transport;
  }

  function serving(onInput: OnInput, options?: NatsTransportOptions, prefetch = 16): Transport {
    const transport = node(options);
    transport.serve('service', { prefetch, maxQueued: 2000 }, onInput);
    return transport;
  }

  const echo: OnInput = (input) => Promise.resolve(input);
  const slow: OnInput = async (input) => {
    await sleep(20);
    return input;
  };
  const numbers = (count: number) => Array.from({ length: count }, (_each, index) => index);
  const outcome = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

  async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
    const end = performance.now() + 30_000;
    while (!(await holds())) {
      if (performance.now() > end) throw new Error('it has not come about');
      await sleep(10);
    }
  }

  it('keeps applications with different prefixes apart', async () => {
    await start();
    serving(() => Promise.resolve('a'), { prefix: 'a' });
    serving(() => Promise.resolve('b'), { prefix: 'b' });
    expect(await node({ prefix: 'a' }).call('service', 1)).toBe('a');
    expect(await node({ prefix: 'b' }).call('service', 1)).toBe('b');
    const names = await (await manager()).streams.names().next();
    expect(names.sort()).toEqual(['a=service', 'b=service']);
  });

  it('connects with a user and a password that may do what is documented, and no more', async () => {
    const may = `publish: ["nb.>", "$JS.API.>", "$JS.ACK.>"], subscribe: ["nb.>", "_INBOX.>"]`;
    await start(`authorization { users: [{ user: app, password: secret, permissions: { ${may} } }] }`);
    const url = server.url.replace('//', '//app:secret@');
    serving(echo, { url, prefix: 'nb' });
    expect(await node({ url, prefix: 'nb' }).call('service', 1)).toBe(1);
    expect(warnings).toEqual([]);
    const refused = node({ url: url.replace('secret', 'wrong'), prefix: 'nb' });
    expect(await outcome(refused.call('service', 1))).toMatchObject({ code: 'ERR_BATCHING_TRANSPORT' });
    expect(warnings.join()).toMatch(/Authorization Violation/i);
  });

  it('connects with a token', async () => {
    await start('authorization { token: s3cret }');
    const url = server.url.replace('//', '//s3cret@');
    serving(echo, { url });
    expect(await node({ url }).call('service', 1)).toBe(1);
  });

  it('connects with TLS to a server whose certificate is of a CA of yours', async () => {
    const own = await SelfMadeCertificate.make();
    const { key, certificate } = own;
    await start(`tls { cert_file: "${certificate}", key_file: "${key}" }`);
    const url = server.url.replace('nats:', 'tls:');
    const connection = { tls: { caFile: certificate } };
    serving(echo, { url, connection });
    expect(await node({ url, connection }).call('service', 1)).toBe(1);
    const trusting = node({ url });
    expect(await outcome(trusting.call('service', 1))).toMatchObject({ code: 'ERR_BATCHING_TRANSPORT' });
    expect(warnings.join()).toMatch(/self-signed certificate/);
    await own.remove();
  });

  it("uses the JetStream of the hub from its leaf node, by the hub's domain", async () => {
    const port = await freePort();
    await start(`jetstream { domain: hub }\nleafnodes { listen: "127.0.0.1:${port}" }`);
    const leaf = await NatsServer.start(
      program,
      `jetstream { domain: leaf }\nleafnodes { remotes: [{ url: "nats-leaf://127.0.0.1:${port}" }] }`,
    );
    try {
      serving(echo, { domain: 'hub' });
      const caller = node({ url: leaf.url, domain: 'hub' });
      // The two servers need some time to find each other.
      await until(() =>
        caller.call('service', 1).then(
          (result) => result === 1,
          () => false,
        ),
      );
      expect(await Promise.all(numbers(100).map((each) => caller.call('service', each)))).toEqual(
        numbers(100),
      );
      expect(await (await manager()).streams.names().next()).toEqual([STREAM]);
      const other = node({ url: leaf.url, domain: 'elsewhere' });
      expect(await outcome(other.call('service', 1))).toMatchObject({ code: 'ERR_BATCHING_TRANSPORT' });
    } finally {
      await Promise.all(opened.splice(0).map((each) => each.close()));
      await leaf.stop();
    }
  });

  it('uses a connection of yours, leaves it open, and loses no call when it breaks at any moment', async () => {
    await start();
    const [ofCaller, ofNode] = [await connection(), await connection()];
    const caller = node({ connection: ofCaller });
    const model = serving(slow, { connection: ofNode });
    await caller.call('service', 0);
    const calls = numbers(300).map((each) => caller.call('service', each));
    for (let times = 0; times < 2; times++) {
      await sleep(50);
      await ofCaller.reconnect();
      await sleep(50);
      await ofNode.reconnect();
    }
    const brokenAt = performance.now();
    expect(await Promise.all(calls)).toEqual(numbers(300));
    // It looks at once for what was sent before, and not only when that takes long.
    expect(performance.now() - brokenAt).toBeLessThan(4500);
    await Promise.all([caller.close(), model.close()]);
    expect([ofCaller.isClosed(), ofNode.isClosed()]).toEqual([false, false]);
  });

  it('delivers no input twice to a node that is frozen', async () => {
    await start();
    const proxy = await TcpProxy.start(server.port);
    const caller = node();
    serving(() => Promise.resolve('frozen'), { url: `nats://127.0.0.1:${proxy.port}` });
    expect(await caller.call('service', 0)).toBe('frozen');
    proxy.freeze();
    const came: unknown[] = [];
    const calls = numbers(4).map((each) => caller.call('service', each));
    await sleep(100);
    serving((input, { deliveries }) => {
      came.push([input, deliveries]);
      return Promise.resolve('other');
    });
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['other']));
    expect(came.sort()).toEqual(numbers(4).map((each) => [each, 2]));
    await proxy.stop();
  });

  it('asks for many inputs at once and sends many answers at once', async () => {
    await start();
    const watcher = await connection();
    const counts = { asks: 0, answers: 0 };
    watcher.subscribe('$JS.API.CONSUMER.MSG.NEXT.>', {
      callback: () => {
        counts.asks++;
      },
    });
    watcher.subscribe('nest-batching.answers.*', {
      callback: () => {
        counts.answers++;
      },
    });
    const caller = node();
    serving(echo, {}, 1024);
    await caller.call('service', 0);
    await watcher.flush();
    counts.asks = counts.answers = 0;
    await Promise.all(numbers(1000).map((each) => caller.call('service', each)));
    await watcher.flush();
    expect(counts.asks).toBeLessThan(10);
    expect(counts.answers).toBeLessThan(100);
  });

  it('answers what it can of bytes that nobody can read, discards the rest, and goes on', async () => {
    await start();
    const caller = node();
    serving(echo);
    expect(await caller.call('service', 1)).toBe(1);
    const other = await connection();
    for (const message of ['', 'x', Buffer.alloc(300, 255)]) other.publish(INPUTS, message);
    const lying = headers();
    lying.set('Nest-Batching-Before', 'many');
    other.publish(INPUTS, Buffer.from([1, 1, 97, 0, 0, 0, 1, 0, 0xc1]), { headers: lying });
    // A caller whose name is no part of a subject.
    other.publish(INPUTS, Buffer.from([1, 1, 32, 0, 0, 0, 1, 0, 0xc1]));
    const { node: name } = caller.state();
    const subjects = ['answers', 'moves', 'confirms'].map((each) => `nest-batching.${each}.${name}`);
    for (const subject of [
      ...subjects,
      `${subjects[2] ?? ''}.1`,
      'nest-batching.beats',
      'nest-batching.cancels.service',
    ]) {
      for (const message of [
        '',
        'abc',
        'null',
        '[1,2,3]',
        '{"services":{}}',
        Buffer.from([0, 0, 0, 6, 9, 0, 0, 0, 1, 0]),
      ]) {
        other.publish(subject, message);
      }
    }
    await other.flush();
    expect(await caller.call('service', 2)).toBe(2);
    const { streams } = await manager();
    await until(async () => (await streams.info(STREAM)).state.messages === 0);
    expect(
      warnings.some((line) => line.includes('service: an input was discarded that cannot be read')),
    ).toBe(true);
  });

  it('sends again what is lost with its stream, without a loss of the connection', async () => {
    await start();
    const caller = node();
    serving(slow, {}, 4);
    await caller.call('service', 0);
    const calls = numbers(100).map((each) => caller.call('service', each));
    await sleep(50);
    await (await manager()).streams.delete(STREAM);
    const deletedAt = performance.now();
    calls.push(caller.call('service', 100));
    expect(await Promise.all(calls)).toEqual(numbers(101));
    // By the time when the stream was made, and not only when it looks for inputs that take long.
    expect(performance.now() - deletedAt).toBeLessThan(4500);
  });

  it('sends again what was lost on the way to a broker that has just died', async () => {
    await start();
    const caller = node({ awayTimeout: 30_000 });
    serving(echo);
    await caller.call('service', 0);
    const restarted = server.restart();
    const calls = numbers(50).map((each) => caller.call('service', each));
    await restarted;
    expect(await Promise.all(calls)).toEqual(numbers(50));
  });

  it('does not take for lost what a node has given back, however long it takes', async () => {
    await start();
    const caller = node();
    const first = serving(() => new Promise(() => undefined));
    const call = caller.call('service', 1);
    await until(() => first.state().services[0]?.nodes[0]?.inProgress === 1);
    let runs = 0;
    const onInput: OnInput = async (input) => {
      runs++;
      // Longer than a call waits until it looks for its input.
      await sleep(6500);
      return input;
    };
    serving(onInput, {}, 1);
    await first.drain({ timeout: 0 });
    await until(() => runs === 1);
    // It would get what is sent again.
    serving(onInput);
    expect(await call).toBe(1);
    expect(runs).toBe(1);
  });

  it('goes on when the consumer is removed', async () => {
    await start();
    const caller = node();
    serving(echo);
    await caller.call('service', 0);
    await (await manager()).consumers.delete(STREAM, 'nodes');
    expect(await caller.call('service', 1)).toBe(1);
  });

  it('ends calls that JetStream has no memory for', async () => {
    await start('jetstream { max_memory_store: 200KB }');
    const caller = node();
    const big = new Uint8Array(50_000);
    const calls = numbers(8).map(() => outcome(caller.call('service', big)));
    const outcomes = await Promise.all(calls);
    expect(outcomes).toContainEqual(
      expect.objectContaining({
        code: 'ERR_BATCHING_TRANSPORT',
        message: expect.stringMatching(/NATS refused the input: .*(resources|exceeded)/) as unknown,
      }),
    );
  });

  it('refuses a stream that is not one of its own', async () => {
    await start();
    await (await manager()).streams.add({ name: STREAM, subjects: ['other'], storage: 'memory' });
    expect(await outcome(node().call('service', 1))).toMatchObject({
      code: 'ERR_BATCHING_TRANSPORT',
      message: expect.stringContaining('is not one of nest-batching') as unknown,
    });
  });

  it('lets the consumer of nodes expire that are gone, and takes the longest redeliverAfter of all nodes', async () => {
    await start();
    const { consumers } = await manager();
    const read = async () => (await consumers.info(STREAM, 'nodes')).config;
    const caller = node();
    serving(echo);
    await caller.call('service', 1);
    expect(await read()).toMatchObject({ inactive_threshold: 60e9, ack_wait: 400e6, max_deliver: -1 });
    serving(echo, { redeliverAfter: 5000 });
    await until(async () => (await read()).ack_wait === 5000e6);
    serving(echo);
    await sleep(200);
    expect(await read()).toMatchObject({ ack_wait: 5000e6 });
  });

  it('lets the stream take as many inputs as its nodes, and drops none when nodes leave', async () => {
    await start();
    const { streams } = await manager();
    const limit = async () => (await streams.info(STREAM)).config.max_msgs;
    const first = node();
    first.serve('service', { prefetch: 2, maxQueued: 10 }, () => new Promise(() => undefined));
    await until(async () => (await limit().catch(() => 0)) === 12);
    const second = node();
    second.serve('service', { prefetch: 3, maxQueued: 20 }, () => new Promise(() => undefined));
    await until(async () => (await limit()) === 35);
    const caller = node();
    const calls = numbers(30).map((each) => outcome(caller.call('service', each)));
    await until(async () => (await streams.info(STREAM)).state.messages === 30);
    await second.close();
    await sleep(1000);
    // What was given back is there, too.
    expect((await streams.info(STREAM)).state.messages).toBe(30);
    await caller.close();
    await Promise.all(calls);
    await until(async () => (await limit()) === 12);
  });
});
