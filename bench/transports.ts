import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { natsPrograms, NatsServer } from '../test/nats-server.js';
import { hasRedis, RedisServer } from '../test/redis-server.js';
import { median, printTable, ratio } from './table.js';
import type { Load, Role, Seen } from './transports-node.js';

const BATCH_SIZE = 32;
const RUN_MS = 5;
/** What a model node has at most: `batchSize · (concurrency + 1)`. */
const PREFETCH = 2 * BATCH_SIZE;
/** Callers of each of two web nodes; together 8 · prefetch. */
const CALLERS = 4 * PREFETCH;
const REDELIVER_AFTER = 1_000;
const SIZES = { '64 B': 64, '12 KB': 12 * 1024 };
type Size = keyof typeof SIZES;

const MOST_ADDED = 0.6;
const LEAST_THROUGHPUT = { redis: { '64 B': 0.8, '12 KB': 0.65 }, nats: { '64 B': 0.8, '12 KB': 0.45 } };
const LEAST_WITH_SLOW_NODE = 0.55;
/** Longest answer after a kill: until the node counts as dead, what the others have before, and 100 ms. */
const MOST_WAIT = REDELIVER_AFTER + (PREFETCH / BATCH_SIZE + 1) * RUN_MS + 100;

type Name = keyof typeof LEAST_THROUGHPUT;

interface Broker {
  readonly url: string;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Faults while a crowd sends. */
interface Faults {
  kills: number;
  restarts: number;
  freezes: number;
  /** Least answers; the crowd goes on until there are as many. */
  inputs: number;
}

const FAULTS: Record<'quick' | 'usual' | 'long', Faults> = {
  quick: { kills: 1, restarts: 1, freezes: 1, inputs: 1_000 },
  usual: { kills: 5, restarts: 2, freezes: 1, inputs: 10_000 },
  long: { kills: 20, restarts: 5, freezes: 3, inputs: 100_000 },
};

/**
 * Inputs of two web processes for two model processes, over each broker that is installed here, beside two processes that do
 * everything themselves: round trips, throughput, faults, and one node ten times slower. Each row says whether its aim is met.
 */
export async function benchTransports(form: 'quick' | 'usual' | 'long'): Promise<void> {
  const starts: Partial<Record<Name, () => Promise<Broker>>> = {};
  if (hasRedis('transports over Redis')) starts.redis = () => RedisServer.start();
  const [program] = natsPrograms('transports over NATS');
  if (program) starts.nats = () => NatsServer.start(program);
  const [rounds, milliseconds] = form === 'quick' ? [1, 300] : [5, 2_000];
  for (const [name, start] of Object.entries(starts) as [Name, () => Promise<Broker>][]) {
    const broker = await start();
    const processes = new Processes(name, broker.url);
    try {
      await benchSpeed(name, processes, rounds, milliseconds);
      await benchFaults(name, processes, broker, FAULTS[form]);
    } finally {
      await processes.end();
      await broker.stop();
    }
  }
}

async function benchSpeed(
  name: Name,
  processes: Processes,
  rounds: number,
  milliseconds: number,
): Promise<void> {
  console.log(
    `\n${name}: 2 web and 2 model processes, batches of ${BATCH_SIZE}, ${RUN_MS} ms, beside 2 processes that do everything; ` +
      `medians of ${rounds} rounds of ${milliseconds} ms`,
  );
  const local = [await processes.start('local'), await processes.start('local')];
  const models = [await processes.start('model'), await processes.start('model')];
  const webs = [await processes.start('web'), await processes.start('web')];
  const rows = [['', 'inputs', 'in process', 'between', '', 'aim', '']];
  for (const size of Object.keys(SIZES) as Size[]) {
    const alone = { callers: 1, milliseconds, size: SIZES[size] };
    const crowd = { callers: CALLERS, milliseconds, size: SIZES[size] };
    // Not counted: warms up the compiler.
    await Promise.all([processes.send(local, crowd), processes.send(webs, crowd)]);
    const trips = { local: [] as number[], between: [] as number[] };
    const speeds = { local: [] as number[], between: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      trips.local.push(one(await processes.send(local.slice(0, 1), alone)).p50);
      trips.between.push(one(await processes.send(webs.slice(0, 1), alone)).p50);
      speeds.local.push(perSecond(await processes.send(local, crowd)));
      speeds.between.push(perSecond(await processes.send(webs, crowd)));
    }
    const added = median(trips.between.map((trip, round) => trip - (trips.local[round] ?? NaN)));
    rows.push([
      'round trip of one caller, p50 ms',
      size,
      median(trips.local).toFixed(2),
      median(trips.between).toFixed(2),
      `added ${added.toFixed(2)}`,
      `≤ ${MOST_ADDED}`,
      verdict(added <= MOST_ADDED),
    ]);
    const least = LEAST_THROUGHPUT[name][size];
    rows.push([
      `inputs/s of ${2 * CALLERS} callers`,
      size,
      median(speeds.local).toFixed(0),
      median(speeds.between).toFixed(0),
      ratio(speeds.between, speeds.local),
      `≥ ${least}`,
      verdict(median(speeds.between.map((speed, round) => speed / (speeds.local[round] ?? NaN))) >= least),
    ]);
  }
  const crowd = { callers: CALLERS, milliseconds, size: SIZES['64 B'] };
  const both: number[] = [];
  for (let round = 0; round < rounds; round++) both.push(perSecond(await processes.send(webs, crowd)));
  await processes.kill(models.splice(0, 1));
  models.push(await processes.start('model', 10 * RUN_MS));
  // What the dead node had is delivered again first.
  await sleep(2 * REDELIVER_AFTER);
  const slow: number[] = [];
  for (let round = 0; round < rounds; round++) slow.push(perSecond(await processes.send(webs, crowd)));
  rows.push([
    'inputs/s, one node of two ten times slower',
    '64 B',
    `(two) ${median(both).toFixed(0)}`,
    median(slow).toFixed(0),
    ratio(slow, both),
    `≥ ${LEAST_WITH_SLOW_NODE}`,
    verdict(median(slow) / median(both) >= LEAST_WITH_SLOW_NODE),
  ]);
  printTable(rows);
  await processes.end();
}

async function benchFaults(name: Name, processes: Processes, broker: Broker, faults: Faults): Promise<void> {
  const { kills, restarts, freezes, inputs } = faults;
  const models = [await processes.start('model'), await processes.start('model')];
  const webs = [await processes.start('web'), await processes.start('web')];
  const total = { answers: 0, lost: 0 };
  const longest: Record<string, number> = { kill: 0, restart: 0, freeze: 0, none: 0 };
  /** A crowd that sends for a while, in the midst of which something happens. */
  const during = async (kind: string, fault: () => Promise<void>): Promise<void> => {
    const sent = processes.send(webs, { callers: CALLERS, milliseconds: 3 * REDELIVER_AFTER, size: 64 });
    await Promise.all([sleep(REDELIVER_AFTER / 2).then(fault), sent]);
    for (const { answers, wrong, errors, longest: wait } of await sent) {
      total.answers += answers;
      total.lost += wrong + Object.values(errors).reduce((sum, count) => sum + count, 0);
      longest[kind] = Math.max(longest[kind] ?? 0, wait);
    }
  };
  for (let kill = 0; kill < kills; kill++) {
    await during('kill', () => processes.kill(models.splice(0, 1)));
    models.push(await processes.start('model'));
  }
  for (let restart = 0; restart < restarts; restart++) await during('restart', () => broker.restart());
  for (let freeze = 0; freeze < freezes; freeze++) {
    await during('freeze', async () => {
      models[0]?.kill('SIGSTOP');
      await sleep(2 * REDELIVER_AFTER);
      models[0]?.kill('SIGCONT');
    });
  }
  while (total.answers < inputs) await during('none', () => Promise.resolve());
  console.log(
    `\n${name}: ${total.answers} answers over ${kills} SIGKILLs of model processes, ${restarts} restarts of the broker (which forgets ` +
      `everything) and ${freezes} frozen processes; silent for ${REDELIVER_AFTER} ms counts as dead`,
  );
  const wait = longest.kill ?? NaN;
  printTable([
    ['', '', 'aim', ''],
    ['lost', String(total.lost), '0', verdict(total.lost === 0)],
    ['longest answer with a kill, ms', wait.toFixed(0), `≤ ${MOST_WAIT}`, verdict(wait <= MOST_WAIT)],
    ['… with a restart of the broker, ms', (longest.restart ?? NaN).toFixed(0), '', ''],
    ['… with a frozen process, ms', (longest.freeze ?? NaN).toFixed(0), '', ''],
  ]);
}

/** Processes that meet over one broker. */
class Processes {
  readonly #all = new Set<ChildProcess>();

  constructor(
    private readonly transport: Name,
    private readonly url: string,
  ) {}

  async start(role: Role, runMs = RUN_MS): Promise<ChildProcess> {
    const child = fork(new URL('transports-node.ts', import.meta.url), {
      execArgv: ['--import', 'tsx'],
      env: {
        ...process.env,
        ROLE: role,
        TRANSPORT: this.transport,
        BROKER_URL: this.url,
        REDELIVER_AFTER: String(REDELIVER_AFTER),
        RUN_MS: String(runMs),
      },
    });
    this.#all.add(child);
    await once(child, 'message');
    return child;
  }

  send(to: readonly ChildProcess[], load: Load): Promise<Seen[]> {
    return Promise.all(
      to.map(async (child) => {
        const seen = once(child, 'message');
        child.send(load);
        return ((await seen) as [Seen])[0];
      }),
    );
  }

  async kill(children: readonly ChildProcess[]): Promise<void> {
    await Promise.all(
      children.map(async (child) => {
        const exit = once(child, 'exit');
        child.kill('SIGKILL');
        await exit;
        this.#all.delete(child);
      }),
    );
  }

  async end(): Promise<void> {
    await this.kill([...this.#all]);
  }
}

/** @throws Error if an answer was wrong or missing, since its speed then means nothing */
function perSecond(seen: readonly Seen[]): number {
  const bad = seen.find(({ wrong, errors }) => wrong > 0 || Object.keys(errors).length > 0);
  if (bad) throw new Error(`${bad.wrong} wrong answers, and errors: ${JSON.stringify(bad.errors)}`);
  return seen.reduce((sum, each) => sum + each.perSecond, 0);
}

function one([seen]: readonly Seen[]): Seen {
  if (!seen) throw new Error('no process has sent anything');
  return seen;
}

function verdict(isMet: boolean): string {
  return isMet ? 'met' : 'MISSED';
}
