import { strict as assert } from 'node:assert';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { progressBar } from '@app/figures';
import type { QueueStats } from 'nest-batching';
import { AppProcess } from '../test/app-process.js';
import { Clients, digits, type Settings } from './reliability-clients.js';
import {
  type CpuTime,
  cpuTimeOfAll,
  cpuTimeOfThis,
  type Latency,
  recoveries,
  type RequestTimes,
  sharesOfOthers,
} from './reliability-times.js';
import { median, printTable } from './table.js';

/** How long what lasts, in seconds. */
export interface Effort {
  /** The measurement of the capacity, with all settings together. */
  readonly capacity: number;
  readonly load: number;
  readonly killEvery: number;
  readonly changeEvery: number;
  readonly memoryEvery: number;
  /** The demo's TIMEOUT: milliseconds that a digit may take. */
  readonly timeout: number;
}

const FULL: Effort = {
  capacity: 36,
  load: 600,
  killEvery: 30,
  changeEvery: 7,
  memoryEvery: 5,
  timeout: 1000,
};
const QUICK: Effort = {
  capacity: 12,
  load: 60,
  killEvery: 15,
  changeEvery: 3,
  memoryEvery: 1,
  timeout: 1000,
};

/** Share of the capacity that is sent. */
const LOAD = 0.9;
/** The demo's SLO_P99: milliseconds within which 99 of 100 digits are to be read. */
const AIM = 200;
/** How long after the end of a worker latencies are counted apart, as a share of the time between two. */
const AFTERMATH = 1 / 3;

/** The worst seconds are printed with what happened in so many seconds. */
const BEFORE = 4;

/** They take turns. */
const SETTINGS: readonly Settings[] = Array.from({ length: 12 }, (_, index) => ({
  batchSize: [32, 64, 128][index % 3] ?? NaN,
  maxDelay: [0, 5, 10, 2.5][index % 4] ?? NaN,
  dispatch: (['eager', 'fixed', 'adaptive'] as const)[Math.floor(index / 2) % 3] ?? 'eager',
}));

/** What the memory may grow by from the second fifth of a run to its last one, in bytes. */
const GROWTH = { held: 4_000_000, rss: 48_000_000 };

/** Milliseconds since the load began. */
interface Event {
  readonly at: number;
  /** The settings were changed, or a worker was ended. */
  readonly what: 'changed' | 'ended';
  readonly settings?: Settings;
}

export interface Reliability {
  /** Of all settings, the least. */
  readonly perSecond: { readonly capacity: number; readonly load: number };
  readonly settings: readonly { settings: Settings; capacity: number; latency: Latency | undefined }[];
  /** How requests ended, by their kind and their status or code. */
  readonly outcomes: ReadonlyMap<string, number>;
  /** What should not have been, in words. Empty if all is well. */
  readonly faults: readonly string[];
  readonly kills: number;
  readonly changes: number;
  /** Of usual requests: of all, of those that were due soon after a worker was ended, and of the rest. */
  readonly latency: Readonly<Record<'all' | 'aftermath' | 'otherwise', Latency | undefined>>;
  /** By the second in which requests were due. */
  readonly seconds: ReadonlyMap<number, Latency>;
  readonly events: readonly Event[];
  /** See `recoveries`, of each worker that was ended. */
  readonly recoveries: readonly number[];
  /** Shares of the machine that other processes used, each of some seconds. */
  readonly others: readonly number[];
  /** Milliseconds from SIGTERM until the process had ended. */
  readonly end: number;
  readonly stats: QueueStats;
  readonly memory: readonly { readonly held: number; readonly rss: number }[];
}

/**
 * Runs the built demo in a process of its own at nine tenths of what it takes, with all that goes wrong in a day: slow
 * clients and viewers that do not read, clients that go away, bodies that are none, inputs that fail their batch,
 * inference workers that end, and settings that are changed. Then SIGTERM under that load.
 */
export async function reliability(effort: Effort, progress: (seconds: number) => void): Promise<Reliability> {
  const faultsFile = join(import.meta.dirname, 'reliability-faults.mjs');
  const demo = new AppProcess(
    'demo-api',
    {
      LOG_FORMAT: 'json',
      BACKEND: 'wasm',
      TUNE: 'on',
      SLO_P99: String(AIM),
      TIMEOUT: String(effort.timeout),
      MEMORY_EVERY: String(1000 * effort.memoryEvery),
    },
    ['--expose-gc', '--import', faultsFile],
  );
  try {
    const clients = new Clients(await demo.listening(), await digits());
    clients.accompany();
    const capacities = await measureCapacities(clients, effort);
    // At more than the slowest of the settings takes, a line would grow before the demo that no library could serve.
    const capacity = Math.min(...capacities);
    const { events, cpus } = await load(demo, clients, LOAD * capacity, effort, progress);
    const signalled = performance.now();
    clients.ending();
    demo.kill('SIGTERM');
    const { signal, code } = await demo.exit;
    const end = performance.now() - signalled;
    await clients.end();
    const { outcomes, faults } = clients;
    if (signal !== 'SIGTERM')
      faults.push(`the process ended with ${String(signal ?? code)}:\n${demo.output}`);
    const stats = JSON.parse(/STATS (.*)/.exec(demo.output)?.[1] ?? 'null') as QueueStats | null;
    assert(stats, `the demo has not written the statistics of its queue:\n${demo.output}`);
    checkCounts(stats, outcomes, faults);
    const memory = Array.from(
      demo.output.matchAll(/PROCESS (.*)/g),
      ([, line = '']) => JSON.parse(line) as { held: number; rss: number; cpu: CpuTime },
    );
    return {
      perSecond: { capacity, load: clients.sent / effort.load },
      outcomes,
      faults,
      ...figures(clients.times, events, capacities, effort),
      others: sharesOfOthers(cpus.all, [memory.map(({ cpu }) => cpu), cpus.ours]),
      end,
      stats,
      memory,
    };
  } finally {
    demo.kill('SIGKILL');
    await demo.exit;
  }
}

/** Requests per second with each of the settings, under all that goes wrong but workers that end: the better of two rounds. */
async function measureCapacities(clients: Clients, { capacity }: Effort): Promise<number[]> {
  const each = (1000 * capacity) / SETTINGS.length / 2;
  // Compiles the code of both sides.
  await clients.measureCapacity(4 * each);
  const capacities = SETTINGS.map(() => 0);
  for (let round = 0; round < 2; round++) {
    for (const [index, settings] of SETTINGS.entries()) {
      await clients.change(settings);
      capacities[index] = Math.max(capacities[index] ?? 0, await clients.measureCapacity(each));
    }
  }
  return capacities;
}

/** All that goes wrong, for as long as the load lasts. */
async function load(
  demo: AppProcess,
  clients: Clients,
  rate: number,
  effort: Effort,
  progress: (seconds: number) => void,
): Promise<{ events: Event[]; cpus: { all: CpuTime[]; ours: CpuTime[] } }> {
  const events: Event[] = [];
  const cpus: { all: CpuTime[]; ours: CpuTime[] } = { all: [], ours: [] };
  let [kills, changes] = [0, 0];
  await clients.change(settingsAfter(changes++));
  events.push({ at: 0, what: 'changed', settings: settingsAfter(0) });
  const began = performance.now();
  const elapsed = (): number => (performance.now() - began) / 1000;
  const change = async (): Promise<void> => {
    const settings = settingsAfter(changes++);
    events.push({ at: 1000 * elapsed(), what: 'changed', settings });
    await clients.change(settings);
  };
  clients.begin(rate, began);
  while (elapsed() < effort.load) {
    await sleep(100);
    progress(Math.min(effort.load, Math.floor(elapsed())));
    cpus.all.push(cpuTimeOfAll());
    cpus.ours.push(cpuTimeOfThis());
    // Not in the last second: what a worker has when the process ends is another matter.
    if (elapsed() > (kills + 0.5) * effort.killEvery && elapsed() < effort.load - 1) {
      events.push({ at: 1000 * elapsed(), what: 'ended' });
      demo.kill('SIGUSR2');
      kills++;
    }
    if (elapsed() > changes * effort.changeEvery) await change();
  }
  return { events, cpus };
}

function settingsAfter(changes: number): Settings {
  const settings = SETTINGS[changes % SETTINGS.length];
  assert(settings);
  return settings;
}

function figures(
  times: RequestTimes,
  events: readonly Event[],
  capacities: readonly number[],
  { killEvery }: Effort,
): Pick<Reliability, 'settings' | 'kills' | 'changes' | 'latency' | 'seconds' | 'events' | 'recoveries'> {
  const momentsOf = (what: Event['what']) => events.filter((each) => each.what === what).map(({ at }) => at);
  const [kills, changes] = [momentsOf('ended'), momentsOf('changed')];
  const isSoonAfterKill = (due: number) =>
    kills.some((at) => due >= at && due < at + 1000 * AFTERMATH * killEvery);
  const bySettings = times.by((due) => settingsAfter(changes.findLastIndex((at) => at <= due)));
  const byKill = times.by(isSoonAfterKill);
  const seconds = times.by((due) => Math.floor(due / 1000));
  const p99s = new Map([...seconds].map(([second, { sinceDue }]) => [second, sinceDue.p99]));
  return {
    settings: SETTINGS.map((settings, index) => ({
      settings,
      capacity: capacities[index] ?? NaN,
      latency: bySettings.get(settings),
    })),
    kills: kills.length,
    changes: changes.length,
    latency: {
      all: times.by(() => 'all').get('all'),
      aftermath: byKill.get(true),
      otherwise: byKill.get(false),
    },
    seconds,
    events,
    recoveries: recoveries(kills, p99s, AIM),
  };
}

/** What the queue has counted agrees with itself, and with what its callers saw. */
function checkCounts(stats: QueueStats, outcomes: ReadonlyMap<string, number>, faults: string[]): void {
  const { submitted, settled, results, errors, dropped, waiting, running } = stats;
  if (submitted !== settled + dropped || waiting + running > 0) {
    faults.push(`counts of the queue: ${JSON.stringify({ submitted, settled, dropped, waiting, running })}`);
  }
  const within = (what: string, value: number, answered: number, unknown: number): void => {
    if (value >= answered && value <= answered + unknown) return;
    faults.push(
      `${what}: the queue counts ${value}, its callers ${answered}, and ${unknown} that did not wait`,
    );
  };
  // Clients that went away, and those that the end came before, do not know how their input ended.
  const unknown = countOf(outcomes, /gone|after SIGTERM/);
  within('results', results, countOf(outcomes, /: 200$/), unknown);
  within('errors and drops', errors + dropped, countOf(outcomes, /: (500|50[34] ERR_BATCHING_)/), unknown);
}

function countOf(outcomes: ReadonlyMap<string, number>, name: RegExp): number {
  return [...outcomes].reduce((sum, [each, times]) => sum + (name.test(each) ? times : 0), 0);
}

/** `npm run bench reliability [quick]`: ten minutes, or one, of all that goes wrong, at nine tenths of the capacity. */
export async function benchReliability(quick: boolean): Promise<void> {
  const effort = quick ? QUICK : FULL;
  console.log(
    `\nReliability: the demo at ${100 * LOAD} % of its capacity for ${effort.load} s; an inference worker is ended every ` +
      `${effort.killEvery} s, settings change every ${effort.changeEvery} s, a digit may take ${effort.timeout} ms; then SIGTERM`,
  );
  const bar = progressBar('{bar} {value}/{total} s');
  bar.start(effort.load, 0);
  const seen = await reliability(effort, (seconds) => {
    bar.update(seconds);
  });
  bar.stop();
  const { faults } = seen;
  const growth = growthOf(seen.memory);
  printCounts(seen, growth);
  printLatencies(seen, effort);
  for (const fault of faults.slice(0, 20)) console.error(`error: ${fault.slice(0, 500)}`);
  assert.equal(faults.length, 0, 'something was lost, or answered otherwise than stated');
  if (quick) return;
  assert(growth.held < GROWTH.held, `heap and buffers have grown by ${megabytes(growth.held)}`);
  assert(growth.rss < GROWTH.rss, `the memory of the process has grown by ${megabytes(growth.rss)}`);
}

type Growth = ReturnType<typeof growthOf>;

function printCounts(seen: Reliability, growth: Growth): void {
  const { perSecond, kills, changes, recoveries: times, others, end, stats, faults, outcomes } = seen;
  const shed = countOf(outcomes, /: (503 ERR_BATCHING_DEADLINE|504)/);
  printTable([['requests', 'count'], ...[...outcomes].sort().map(([name, count]) => [name, number(count)])]);
  console.log('');
  printTable([
    ['what', 'figure'],
    [
      'capacity with the slowest settings, load',
      `${number(perSecond.capacity)}/s, ${number(perSecond.load)}/s`,
    ],
    ['workers ended, settings changed', `${kills}, ${changes}`],
    [
      `from a worker's end until p99 ≤ ${AIM} ms again, median, longest`,
      `${seconds(median(times))}, ${seconds(Math.max(...times))}`,
    ],
    [
      'share of the CPUs that other programs took, on average, at most',
      `${percent(others.reduce((sum, share) => sum + share, 0) / others.length)}, ${percent(Math.max(...others))}`,
    ],
    ['inputs = results + errors + dropped', countsOf(stats)],
    ['heap and buffers after a collection, second to last fifth', `${megabytes(growth.held)} more`],
    ['process memory, second to last fifth', `${megabytes(growth.rss)} more`],
    ['from SIGTERM to the end', `${number(end)} ms`],
    ['refused, as they would have been late (503), or late (504)', number(shed)],
    ['lost, or answered otherwise than stated', number(faults.length)],
  ]);
}

function printLatencies(seen: Reliability, { killEvery }: Effort): void {
  const { latency, settings } = seen;
  const head = ['p50', 'p99', 'longest'];
  console.log('\nLatency of usual requests, ms: from when they were due, and from when they were sent');
  printTable([
    ['when they were due', 'requests', 'refused', ...head, ...head],
    ['at any time', ...cellsOf(latency.all)],
    [`within ${AFTERMATH * killEvery} s after a worker was ended`, ...cellsOf(latency.aftermath)],
    ['at other times', ...cellsOf(latency.otherwise)],
  ]);
  console.log('');
  printTable([
    ['settings: batch size, wait, dispatch', 'capacity/s', 'requests', 'refused', ...head, ...head],
    ...settings.map(({ settings, capacity, latency: cells }) => [
      textOf(settings),
      number(capacity),
      ...cellsOf(cells),
    ]),
  ]);
  console.log(`\nThe seconds with the highest p99, and what happened in the ${BEFORE} s before their end`);
  printTable([
    ['second', 'requests', 'refused', ...head, ...head, 'events'],
    ...[...seen.seconds]
      .sort(([, one], [, other]) => other.sinceDue.p99 - one.sinceDue.p99)
      .slice(0, 8)
      .map(([second, cells]) => [String(second), ...cellsOf(cells), eventsBefore(seen.events, second)]),
  ]);
}

function cellsOf(latency: Latency | undefined): string[] {
  if (!latency) return ['0', ...Array.from({ length: 7 }, () => '')];
  const { requests, refused, sinceDue, sinceSent } = latency;
  const times = [sinceDue, sinceSent].flatMap(({ p50, p99, longest }) => [p50, p99, longest]);
  return [number(requests), number(refused), ...times.map(number)];
}

function eventsBefore(events: readonly Event[], second: number): string {
  return events
    .filter(({ at }) => at < 1000 * (second + 1) && at >= 1000 * (second + 1 - BEFORE))
    .map(
      ({ at, settings }) => `${(at / 1000).toFixed(1)} ${settings ? textOf(settings) : 'a worker was ended'}`,
    )
    .join('; ');
}

function textOf({ batchSize, maxDelay, dispatch }: Settings): string {
  return `${batchSize}, ${maxDelay} ms, ${dispatch}`;
}

function number(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

function seconds(value: number): string {
  return value === Infinity ? 'not before the next' : `${value.toFixed(1)} s`;
}

function countsOf({ submitted, results, errors, dropped }: QueueStats): string {
  return [submitted, '=', results, '+', errors, '+', dropped]
    .map((each) => (typeof each === 'number' ? each.toLocaleString('en') : each))
    .join(' ');
}

/** From the second fifth of a run, when everything has been used, to its last. */
function growthOf(memory: Reliability['memory']): { held: number; rss: number } {
  const fifth = Math.floor(memory.length / 5);
  const of = (key: 'held' | 'rss'): number => {
    const values = memory.map((each) => each[key]);
    return median(values.slice(-fifth)) - median(values.slice(fifth, 2 * fifth));
  };
  return { held: of('held'), rss: of('rss') };
}
