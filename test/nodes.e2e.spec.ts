import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { natsPrograms, NatsServer } from './nats-server.js';
import type { Crowd, Outcome } from './node-process.js';
import { hasRedis, RedisServer } from './redis-server.js';

const REDELIVER_AFTER = 500;

const WHAT = 'web nodes and model nodes as processes';

const brokers: (readonly [string, () => Promise<RedisServer | NatsServer>])[] = [
  ...(hasRedis(WHAT) ? [['Redis', () => RedisServer.start()] as const] : []),
  ...natsPrograms(WHAT).map(
    (program) => [`NATS ${program.version}`, () => NatsServer.start(program)] as const,
  ),
];
const withBroker = brokers.length > 0 ? describe : describe.skip;

/** Two web nodes and two model nodes over a broker; what happens to them while a crowd is served. */
withBroker.each(brokers)('web nodes and model nodes over %s', (_, startServer) => {
  let server: RedisServer | NatsServer;
  const nodes = new Set<ChildProcess>();
  let errors = '';

  beforeEach(async () => {
    server = await startServer();
    errors = '';
  });

  afterEach(async () => {
    await Promise.all([...nodes].map((node) => end(node, 'SIGKILL')));
    await server.stop();
  });

  async function start(role: 'web' | 'model', redeliverAfter = REDELIVER_AFTER): Promise<ChildProcess> {
    const node = fork(join(import.meta.dirname, 'node-process.ts'), {
      execArgv: ['--import', 'tsx'],
      env: {
        PATH: process.env.PATH,
        ROLE: role,
        BROKER_URL: server.url,
        REDELIVER_AFTER: String(redeliverAfter),
      },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    nodes.add(node);
    node.once('exit', () => nodes.delete(node));
    node.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    await once(node, 'message');
    return node;
  }

  async function end(node: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    if (node.exitCode !== null || node.signalCode !== null) return;
    const exit = once(node, 'exit');
    node.kill(signal);
    await exit;
  }

  const startAll = (redeliverAfter?: number): Promise<ChildProcess[]> =>
    Promise.all((['web', 'web', 'model', 'model'] as const).map((role) => start(role, redeliverAfter)));

  async function send(web: ChildProcess, crowd: Crowd): Promise<Outcome> {
    const answer = once(web, 'message');
    web.send(crowd);
    const [outcome] = (await answer) as [Outcome];
    return outcome;
  }

  const crowds = (webs: readonly (ChildProcess | undefined)[], count: number): Promise<Outcome[]> =>
    Promise.all(
      webs.map((web, index) =>
        web
          ? send(web, { from: 1 + index * count, count, inFlight: 150 })
          : Promise.reject(new Error('no web node')),
      ),
    );

  const total = (outcomes: readonly Outcome[]) => ({
    right: outcomes.reduce((sum, { right }) => sum + right, 0),
    wrong: outcomes.reduce((sum, { wrong }) => sum + wrong, 0),
    errors: Object.assign({}, ...outcomes.map((each) => each.errors)) as Record<number, string>,
  });

  it('answer every caller once while model nodes are killed, frozen and replaced, and the broker is started anew', async () => {
    const [first, second, killed, frozen] = await startAll();
    const outcomes = crowds([first, second], 12_000);
    await sleep(400);
    killed?.kill('SIGKILL');
    await start('model');
    await sleep(300);
    frozen?.kill('SIGSTOP');
    await sleep(3 * REDELIVER_AFTER);
    frozen?.kill('SIGCONT');
    await sleep(200);
    await server.restart();
    const done = await outcomes;
    expect(total(done)).toEqual({ right: 24_000, wrong: 0, errors: {} });
    expect(errors).toBe('');
  });

  it('deliver nothing again when a model node is ended by SIGTERM', async () => {
    // None dies, and none is silent for so long, however busy the machine is.
    const [first, second, ended] = await startAll(10_000);
    const outcomes = crowds([first, second], 6_000);
    await sleep(300);
    if (ended) await end(ended, 'SIGTERM');
    const done = await outcomes;
    expect(total(done)).toEqual({ right: 12_000, wrong: 0, errors: {} });
    expect(done.map(({ redelivered }) => redelivered)).toEqual([0, 0]);
    expect(errors).toBe('');
  });

  it('survive an input that ends every process that runs it; its caller alone gets an error', async () => {
    const [first, second] = await startAll();
    // Whoever looks after processes starts dead ones again.
    let isOver = false;
    const keep = (node: ChildProcess): void => {
      node.once('exit', () => {
        if (!isOver) void start('model').then(keep);
      });
    };
    for (const node of [...nodes].slice(2)) keep(node);
    const third = await start('web');
    // Others are beside it in each of its deliveries.
    const done: Outcome[][] = [];
    const crowd = async (): Promise<void> => {
      while (!isOver) done.push(await crowds([first, second], 1_000));
    };
    const ended = crowd();
    await sleep(200);
    const poison = await send(third, { from: -1, count: 1, inFlight: 1 });
    isOver = true;
    await ended;
    expect(poison.errors).toEqual({ '-1': 'ERR_BATCHING_REDELIVERY' });
    expect(total(done.flat())).toEqual({ right: 2_000 * done.length, wrong: 0, errors: {} });
  });
});
