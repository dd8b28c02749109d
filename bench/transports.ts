import { setTimeout as sleep } from 'node:timers/promises';
import { natsPrograms, NatsServer } from '../test/nats-server.js';
import { hasRedis, RedisServer } from '../test/redis-server.js';
import { hasRabbit, RabbitServer } from './rabbitmq-server.js';
import { median, printTable, ratio } from './table.js';
import { BATCH_SIZE, LOST_AFTER, PREFETCH, REDELIVER_AFTER } from './transports-load.js';
import { Processes, RUN_MS } from './transports-processes.js';
import type { SystemName } from './transports-systems.js';

/** Callers of each of two web processes; together 8 · prefetch. */
const CALLERS = 4 * PREFETCH;
const SIZES = { '64 B': 64, '12 KB': 12 * 1024 };
type Size = keyof typeof SIZES;

const MOST_ADDED = 0.6;
const LEAST_THROUGHPUT = { redis: { '64 B': 0.8, '12 KB': 0.65 }, nats: { '64 B': 0.8, '12 KB': 0.45 } };
/** CPU for an input, beside a plain loop over the same broker. */
const MOST_CPU = 1.5;
/** What the two would do if both were always busy: (1 + 0.1) / 2. */
const LEAST_WITH_SLOW_NODE = 0.55;
/** Longest answer after a kill: until the node counts as dead, what the others have before, and 100 ms. */
const MOST_WAIT = REDELIVER_AFTER + (PREFETCH / BATCH_SIZE + 1) * RUN_MS + 100;

type BrokerName = keyof typeof LEAST_THROUGHPUT;
const PLAIN = { redis: 'plainRedis', nats: 'plainNats' } as const;

/** Others that carry calls over a broker, by what each is called in the table. */
const PEERS = {
  redis: { 'BullMQ, waitUntilFinished': 'bullmq', 'Nest over Redis': 'nestRedis' },
  nats: { 'Nest over NATS': 'nestNats' },
  rabbit: { 'Nest over RMQ, acknowledged': 'nestRmq' },
} satisfies Record<string, Record<string, SystemName>>;

interface Broker {
  readonly url: string;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

type Form = 'quick' | 'usual' | 'long';

/** Rounds of every measurement, and their milliseconds. */
const ROUNDS: Record<Form, readonly [rounds: number, milliseconds: number]> = {
  quick: [1, 300],
  usual: [5, 1_000],
  long: [7, 2_000],
};

/** Faults while a crowd sends. */
interface Faults {
  kills: number;
  restarts: number;
  freezes: number;
  /** Least answers; the crowd goes on until there are as many. */
  inputs: number;
}

const FAULTS: Record<Form, Faults> = {
  quick: { kills: 1, restarts: 0, freezes: 0, inputs: 1_000 },
  usual: { kills: 5, restarts: 2, freezes: 1, inputs: 10_000 },
  long: { kills: 20, restarts: 5, freezes: 3, inputs: 100_000 },
};

/**
 * Inputs of two web processes for two model processes, over each broker that is installed here, beside two processes that do
 * everything themselves, and beside a plain loop that does the same reads and writes: round trips, throughput, CPU, faults, and
 * one node ten times slower. Then what others do with the same load. Each row says whether its aim is met.
 */
export async function benchTransports(form: Form): Promise<void> {
  const starts: Partial<Record<BrokerName, () => Promise<Broker>>> = {};
  if (hasRedis('transports over Redis')) starts.redis = () => RedisServer.start();
  const [program] = natsPrograms('transports over NATS');
  if (program) starts.nats = () => NatsServer.start(program);
  const peers: string[][] = [];
  const local = await Processes.start('local');
  try {
    for (const [name, start] of Object.entries(starts) as [BrokerName, () => Promise<Broker>][]) {
      const broker = await start();
      const ours = await Processes.start(name, broker.url);
      try {
        await benchSpeed(name, broker.url, local, ours, form);
        await benchFaults(name, broker, ours, form);
        peers.push(...(await benchPeers(PEERS[name], broker.url, ours, form)));
        if (name === 'redis' && hasRabbit('Nest over RMQ')) {
          const rabbit = await RabbitServer.start();
          try {
            peers.push(...(await benchPeers(PEERS.rabbit, rabbit.url, ours, form)));
          } finally {
            await rabbit.stop();
          }
        }
      } finally {
        await ours.end();
        await broker.stop();
      }
    }
  } finally {
    await local.end();
  }
  console.log(
    `\nOthers: the same load and compute, a queue of this library where inputs are run; ratios to this library over the same broker (RMQ: ` +
      `over Redis), in turns. Lost: answers of ${2 * CALLERS} callers that had not come ${LOST_AFTER} ms after one of two was killed`,
  );
  printTable([['', 'inputs/s 64 B', '', '12 KB', '', 'round trip', 'CPU', 'lost', 'longest'], ...peers]);
}

async function benchSpeed(
  name: BrokerName,
  url: string,
  local: Processes,
  ours: Processes,
  form: Form,
): Promise<void> {
  const [rounds, milliseconds] = ROUNDS[form];
  console.log(
    `\n${name}: 2 web and 2 model processes, batches of ${BATCH_SIZE}, ${RUN_MS} ms, beside 2 processes that do everything, and a plain ` +
      `loop; medians of ${rounds} rounds of ${milliseconds} ms`,
  );
  const plain = await Processes.start(PLAIN[name], url);
  const systems = { local, ours, plain };
  const rows = [['', 'inputs', 'in process', 'plain loop', 'between', '', 'aim', '']];
  for (const size of Object.keys(SIZES) as Size[]) {
    const crowd = { callers: CALLERS, milliseconds, size: SIZES[size] };
    // Not counted: warms up the compiler.
    for (const system of Object.values(systems)) await system.measure(crowd);
    const trips = { local: [] as number[], plain: [] as number[], ours: [] as number[] };
    const speeds = { local: [] as number[], plain: [] as number[], ours: [] as number[] };
    const cpu = { local: [] as number[], plain: [] as number[], ours: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      for (const [key, system] of Object.entries(systems) as [keyof typeof systems, Processes][]) {
        trips[key].push(await system.roundTrip(milliseconds / 2, SIZES[size]));
        const measured = await system.measure(crowd);
        speeds[key].push(measured.perSecond);
        cpu[key].push(measured.cpu);
      }
    }
    const added = median(trips.ours.map((trip, round) => trip - (trips.local[round] ?? NaN)));
    rows.push([
      'round trip of one caller, p50 ms',
      size,
      ...[trips.local, trips.plain, trips.ours].map((each) => median(each).toFixed(2)),
      `added ${added.toFixed(2)}`,
      `≤ ${MOST_ADDED}`,
      verdict(added <= MOST_ADDED),
    ]);
    const least = LEAST_THROUGHPUT[name][size];
    rows.push([
      `inputs/s of ${2 * CALLERS} callers`,
      size,
      ...[speeds.local, speeds.plain, speeds.ours].map((each) => median(each).toFixed(0)),
      ratio(speeds.ours, speeds.local),
      `≥ ${least}`,
      verdict(medianRatio(speeds.ours, speeds.local) >= least),
    ]);
    rows.push([
      'CPU for an input, µs, to the plain loop',
      size,
      ...[cpu.local, cpu.plain, cpu.ours].map((each) => median(each).toFixed(0)),
      ratio(cpu.ours, cpu.plain),
      `≤ ${MOST_CPU}`,
      verdict(medianRatio(cpu.ours, cpu.plain) <= MOST_CPU),
    ]);
  }
  await plain.end();
  const crowd = { callers: CALLERS, milliseconds, size: SIZES['64 B'] };
  const both: number[] = [];
  for (let round = 0; round < rounds; round++) both.push((await ours.measure(crowd)).perSecond);
  await ours.killModel();
  await ours.startModel(10 * RUN_MS);
  // What the dead node had is delivered again first.
  await sleep(2 * REDELIVER_AFTER);
  const slow: number[] = [];
  for (let round = 0; round < rounds; round++) slow.push((await ours.measure(crowd)).perSecond);
  rows.push([
    'inputs/s, one node of two ten times slower',
    '64 B',
    '',
    '',
    median(slow).toFixed(0),
    `of two ${ratio(slow, both)}`,
    `≥ ${LEAST_WITH_SLOW_NODE}`,
    verdict(medianRatio(slow, both) >= LEAST_WITH_SLOW_NODE),
  ]);
  printTable(rows);
  await ours.killModel();
  await ours.startModel();
  // The slow one is the older of two now.
  await ours.killModel();
  await ours.startModel();
}

async function benchFaults(
  name: BrokerName,
  broker: Broker,
  processes: Processes,
  form: Form,
): Promise<void> {
  const { kills, restarts, freezes, inputs } = FAULTS[form];
  const total = { answers: 0, lost: 0 };
  const longest: Record<string, number> = { kill: 0, restart: 0, freeze: 0, none: 0 };
  const during = async (kind: string, fault: () => Promise<void>): Promise<void> => {
    const seen = await sendDuring(processes, fault);
    total.answers += seen.answers;
    total.lost += seen.lost;
    longest[kind] = Math.max(longest[kind] ?? 0, seen.longest);
  };
  for (let kill = 0; kill < kills; kill++) {
    await during('kill', () => processes.killModel());
    await processes.startModel();
  }
  for (let restart = 0; restart < restarts; restart++) await during('restart', () => broker.restart());
  for (let freeze = 0; freeze < freezes; freeze++) {
    await during('freeze', async () => {
      const [frozen] = processes.models;
      frozen?.kill('SIGSTOP');
      await sleep(2 * REDELIVER_AFTER);
      frozen?.kill('SIGCONT');
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
    ...(restarts > 0
      ? [['… with a restart of the broker, ms', (longest.restart ?? NaN).toFixed(0), '', '']]
      : []),
    ...(freezes > 0 ? [['… with a frozen process, ms', (longest.freeze ?? NaN).toFixed(0), '', '']] : []),
  ]);
}

/** Others over a broker, in turns with ours over its own. @returns a row for each */
async function benchPeers(
  peers: Readonly<Record<string, SystemName>>,
  url: string,
  ours: Processes,
  form: Form,
): Promise<string[][]> {
  const rows: string[][] = [];
  for (const [name, system] of Object.entries(peers)) {
    const theirs = await Processes.start(system, url);
    try {
      rows.push([name, ...(await benchPeer(theirs, ours, form))]);
    } catch (error) {
      // Theirs is no reason to measure nothing else.
      console.error(`${name}: ${String(error)}`);
      rows.push([name, ...Array.from({ length: 8 }, () => 'failed')]);
    } finally {
      await theirs.end();
    }
  }
  return rows;
}

async function benchPeer(theirs: Processes, ours: Processes, form: Form): Promise<string[]> {
  const [rounds, milliseconds] = ROUNDS[form];
  const row: string[] = [];
  const cpu = { ours: [] as number[], theirs: [] as number[] };
  for (const size of Object.values(SIZES)) {
    if (form === 'quick' && size !== SIZES['64 B']) {
      row.push('', '');
      continue;
    }
    const crowd = { callers: CALLERS, milliseconds, size };
    await theirs.measure(crowd);
    await ours.measure(crowd);
    const speeds = { ours: [] as number[], theirs: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      const [their, our] = [await theirs.measure(crowd), await ours.measure(crowd)];
      speeds.theirs.push(their.perSecond);
      speeds.ours.push(our.perSecond);
      if (size !== SIZES['64 B']) continue;
      cpu.theirs.push(their.cpu);
      cpu.ours.push(our.cpu);
    }
    row.push(median(speeds.theirs).toFixed(0), ratio(speeds.theirs, speeds.ours));
  }
  const trip = await theirs.roundTrip(milliseconds, SIZES['64 B']);
  const { lost, longest } = await sendDuring(theirs, () => theirs.killModel());
  row.push(`${trip.toFixed(2)} ms`, ratio(cpu.theirs, cpu.ours, 1), String(lost), `${longest.toFixed(0)} ms`);
  return row;
}

/** A crowd that sends for a while, in the midst of which something happens. */
async function sendDuring(
  processes: Processes,
  fault: () => Promise<void>,
): Promise<{ answers: number; lost: number; longest: number }> {
  const sent = processes.send({ callers: CALLERS, milliseconds: 3 * REDELIVER_AFTER, size: SIZES['64 B'] });
  await Promise.all([sleep(REDELIVER_AFTER / 2).then(fault), sent]);
  const total = { answers: 0, lost: 0, longest: 0 };
  for (const { answers, wrong, errors, longest } of await sent) {
    total.answers += answers;
    total.lost += wrong + Object.values(errors).reduce((sum, count) => sum + count, 0);
    total.longest = Math.max(total.longest, longest);
  }
  return total;
}

function medianRatio(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.map((value, round) => value / (theirs[round] ?? NaN)));
}

function verdict(isMet: boolean): string {
  return isMet ? 'met' : 'MISSED';
}
