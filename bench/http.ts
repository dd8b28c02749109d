import { strict as assert } from 'node:assert';
import { fork } from 'node:child_process';
import { progressBar } from '@app/figures';
import { BatchQueue, type BatchOptions } from 'nest-batching';
import { AppProcess } from '../test/app-process.js';
import { liveView } from '../test/live-view.js';
import type { Seen, Task } from './http-clients.js';
import { ALPHA, BETA, crowd, type Run, runs, SquareServer, type Submit } from './loads.js';
import { median, printTable, ratio } from './table.js';

type Dispatch = NonNullable<BatchOptions['dispatch']>;
type Build = (run: Run) => Submit;

/** How much is measured. */
interface Effort {
  readonly rounds: number;
  readonly seconds: number;
  readonly clients: readonly number[];
  readonly rhos: readonly number[];
  readonly phases: readonly number[];
  readonly digits: number;
  /** How long that takes on two cores. */
  readonly takes: string;
}

const FULL: Effort = {
  rounds: 9,
  seconds: 1,
  clients: [1, 2, 4, 8, 16, 32, 64],
  rhos: [0.1, 0.3, 0.6],
  phases: [8, 1, 32, 2, 16],
  digits: 10_000,
  takes: '40 minutes',
};
/** To see that it works; too little to judge by. */
const QUICK: Effort = {
  rounds: 2,
  seconds: 0.4,
  clients: [1, 16],
  rhos: [0.3],
  phases: [8, 1],
  digits: 2000,
  takes: 'a minute and a half',
};

const BATCH_SIZE = 32;
/** Shares of the best setting's throughput that the default has to reach. */
const AIMS = { steady: 0.98, firstSecond: 0.95, phases: 0.97, demo: 0.98 };
/** With fewer clients the first second is not judged. */
const CROWD = 16;
/** Mean latency of independent callers, as a share of that under `eager`, which is the best for them. */
const POISSON_AIM = 1.02;

const queueOf =
  (options: { maxDelay: number; dispatch?: Dispatch }): Build =>
  (run) => {
    const queue = new BatchQueue(run, { batchSize: BATCH_SIZE, ...options });
    return (input) => queue.submit(input);
  };

const OURS = 'BatchQueue';
const ours = { [OURS]: queueOf({ maxDelay: 10 }) };

/** What a user may set instead of the default, with the traffic known. */
const settings: Record<string, Build> = {
  eager: queueOf({ maxDelay: 10, dispatch: 'eager' }),
  'fixed, 1 ms': queueOf({ maxDelay: 1, dispatch: 'fixed' }),
  'fixed, 2 ms': queueOf({ maxDelay: 2, dispatch: 'fixed' }),
  'fixed, 3 ms': queueOf({ maxDelay: 3, dispatch: 'fixed' }),
};

/** Where the batch is formed decides what HTTP traffic gets out of it. Measured in every third round only. */
const others: Record<string, Build> = {
  'on process.nextTick': (run) =>
    scheduled(run, (dispatch) => {
      process.nextTick(dispatch);
    }),
  'one by one': (run) => {
    let last: Promise<unknown> = Promise.resolve();
    return (input) => {
      const result = last.then(async () => (await run([input]))[0] ?? NaN);
      last = result;
      return result;
    };
  },
};

/** One batch at a time, as the others; formed when `schedule` calls back. */
function scheduled(run: Run, schedule: (dispatch: () => void) => void): Submit {
  const open: { input: number; resolve: (result: number) => void }[] = [];
  let busy = false;
  const dispatch = async () => {
    if (busy || open.length === 0) return;
    busy = true;
    const batch = open.splice(0, BATCH_SIZE);
    const results = await run(batch.map(({ input }) => input));
    batch.forEach(({ resolve }, index) => {
      resolve(results[index] ?? NaN);
    });
    busy = false;
    if (open.length > 0) schedule(() => void dispatch());
  };
  return (input) =>
    new Promise((resolve) => {
      open.push({ input, resolve });
      schedule(() => void dispatch());
    });
}

/** Rows with an aim, and those of them that are met. */
const rowsIn = { all: 0, met: 0 };

/**
 * `npm run bench http [quick]`: the default dispatch over loopback against every other setting, round by round in turns.
 * Crowds of clients that each send their next request when the answer is there, from their first second on; independent
 * callers; crowds that come and go; and the demo. A row is missed when its whole spread lies on the wrong side of the aim.
 */
export async function benchHttp(quick = false): Promise<void> {
  const effort = quick ? QUICK : FULL;
  console.log(
    `\nHTTP: ${effort.rounds} interleaved rounds, about ${effort.takes} in all. The best setting is chosen in ` +
      'rounds 1, 3, 5 … and compared in rounds 2, 4, 6 …: the best of several is best by luck, too. ' +
      'Ratios: median (least–most).',
  );
  try {
    await printAll(effort);
  } finally {
    clients.close();
  }
  console.log(`\n${rowsIn.met} of ${rowsIn.all} rows are met`);
}

async function printAll(effort: Effort): Promise<void> {
  for (const [kind, run] of Object.entries(runs)) {
    const batches = `${kind} batch function of ${ALPHA} ms · n + ${BETA} ms, batch size ${BATCH_SIZE}`;
    console.log(`\nCrowds, ${batches}; requests/s once it has run for half of a second`);
    await printCrowds(run, effort);
    console.log(`\nIndependent callers, ${batches}; mean latency, ms; aim at most ${POISSON_AIM}`);
    await printPoisson(run, effort);
    console.log(`\nOne queue, crowds that come and go, ${batches}; requests/s; aim ${AIMS.phases}`);
    await printPhases(run, effort);
  }
  console.log(
    `\nThe demo, ${effort.digits} digits over 64 connections; aim ${AIMS.demo} of the best fixed wait`,
  );
  await printDemo(effort);
}

interface CrowdFigures {
  steady: number;
  firstSecond: number;
  meanBatch: number;
  p50: number;
  p99: number;
}

async function printCrowds(run: Run, { rounds, seconds, clients: numbers }: Effort): Promise<void> {
  const rows = [['clients', '', 'requests/s', 'first second', 'mean batch', 'p50 ms', 'p99 ms', `${OURS} /`]];
  const verdicts = [['clients', '', 'best setting', `${OURS} / best`, 'aim', '']];
  for (const clients of numbers) {
    const figures = await inTurns(`crowd of ${clients}`, rounds, { ...ours, ...settings }, (build) =>
      measureCrowd(build, run, clients, seconds),
    );
    const rare = await inTurns(
      `crowd of ${clients}, others`,
      Math.ceil(rounds / 3),
      { ...ours, ...others },
      (build) => measureCrowd(build, run, clients, seconds),
    );
    rows.push(...crowdRows(clients, figures), ...crowdRows(clients, rare).slice(1));
    const rates = (key: keyof CrowdFigures) => valuesOf(figures, (one) => one[key]);
    verdicts.push([String(clients), 'steady', ...againstBest(rates('steady'), AIMS.steady)]);
    if (clients >= CROWD)
      verdicts.push([
        String(clients),
        'first second',
        ...againstBest(rates('firstSecond'), AIMS.firstSecond),
      ]);
    const meanBatch = median((figures.get(OURS) ?? []).map((one) => one.meanBatch));
    if (clients > 1)
      assert(meanBatch > 1, `mean batch ${meanBatch} at ${clients} clients: nothing was batched`);
  }
  printTable(rows);
  console.log('');
  printTable(verdicts);
}

function crowdRows(clients: number, figures: Map<string, CrowdFigures[]>): string[][] {
  const steady = valuesOf(figures, (one) => one.steady);
  return [...figures].map(([name, all]) => {
    const of = (key: keyof CrowdFigures) => median(all.map((one) => one[key]));
    return [
      String(clients),
      name.padEnd(20),
      of('steady').toFixed(0),
      of('firstSecond').toFixed(0),
      of('meanBatch').toFixed(1),
      of('p50').toFixed(0),
      of('p99').toFixed(0),
      name === OURS ? '' : ratio(steady.get(OURS) ?? [], steady.get(name) ?? []),
    ];
  });
}

/** From the first answer on: the first second, and a second of which half is past that. */
async function measureCrowd(build: Build, run: Run, clients: number, seconds: number): Promise<CrowdFigures> {
  const server = new SquareServer(build, run);
  const { p50, p99 } = await crowd(await server.listen(), clients, 1.5 * seconds);
  server.close();
  const { answered, inputs, batches } = server;
  const [first = NaN] = answered;
  const within = (from: number) => {
    const [begin, end] = [first + from * 1000, first + (from + seconds) * 1000];
    return answered.filter((at) => at > begin && at <= end).length / seconds;
  };
  return { steady: within(seconds / 2), firstSecond: within(0), meanBatch: inputs / batches, p50, p99 };
}

async function printPoisson(run: Run, { rounds, seconds, rhos }: Effort): Promise<void> {
  const capacity = BATCH_SIZE / (ALPHA * BATCH_SIZE + BETA);
  const rows = [['', 'eager', OURS, `${OURS} / eager`, 'aim', '']];
  const { eager } = settings;
  assert(eager);
  // Starts the clients, and compiles their code.
  await measurePoisson(eager, run, { kind: 'poisson', rate: capacity / 2, milliseconds: 500, seed: 0 });
  for (const rho of rhos) {
    const figures = await inTurns(
      `independent callers, ρ ${rho}`,
      rounds,
      { ...ours, eager },
      (build, seed) =>
        measurePoisson(build, run, {
          kind: 'poisson',
          rate: rho * capacity,
          milliseconds: 2500 * seconds,
          seed,
        }),
    );
    const [mine = [], theirs = []] = [figures.get(OURS), figures.get('eager')];
    const isMet = mine.some((mean, round) => mean <= POISSON_AIM * (theirs[round] ?? NaN));
    rows.push([
      `ρ ${rho}`,
      median(theirs).toFixed(2),
      median(mine).toFixed(2),
      ratio(mine, theirs, 3),
      String(POISSON_AIM),
      verdict(isMet),
    ]);
  }
  printTable(rows);
}

async function measurePoisson(
  build: Build,
  run: Run,
  task: Omit<Task & { kind: 'poisson' }, 'url'>,
): Promise<number> {
  const server = new SquareServer(build, run);
  const seen = await clients.ask({ ...task, url: await server.listen() });
  server.close();
  assert(seen.kind === 'poisson');
  return seen.mean;
}

async function printPhases(run: Run, { rounds, seconds, phases }: Effort): Promise<void> {
  const figures = await inTurns(
    'crowds that come and go',
    rounds,
    { ...ours, ...settings },
    async (build) => {
      const server = new SquareServer(build, run);
      const url = await server.listen();
      const rates: number[] = [];
      for (const clients of phases) rates.push((await crowd(url, clients, seconds)).perSecond);
      server.close();
      return rates;
    },
  );
  const rows = [['clients', ...figures.keys(), 'best setting', `${OURS} / best`, 'aim', '']];
  for (const [index, clients] of phases.entries()) {
    const rates = valuesOf(figures, (one) => one[index] ?? NaN);
    rows.push([
      String(clients),
      ...[...rates.values()].map((all) => median(all).toFixed(0)),
      ...againstBest(rates, AIMS.phases),
    ]);
  }
  printTable(rows);
}

/** The environment of each contender; the first is the demo as it is. */
const demos: Record<string, NodeJS.ProcessEnv> = {
  [OURS]: {},
  eager: { DISPATCH: 'eager' },
  'fixed, 1 ms': { DISPATCH: 'fixed', MAX_DELAY: '1' },
  'fixed, 2 ms': { DISPATCH: 'fixed', MAX_DELAY: '2' },
  'fixed, 3 ms': { DISPATCH: 'fixed', MAX_DELAY: '3' },
};

/** The built demo, a process for each setting, which take turns. */
async function printDemo({ rounds, digits }: Effort): Promise<void> {
  const started: AppProcess[] = [];
  try {
    const contenders: Record<string, string> = {};
    for (const [name, environment] of Object.entries(demos)) {
      const demo = new AppProcess('demo-api', { LOG_FORMAT: 'json', ...environment }, []);
      started.push(demo);
      contenders[name] = await demo.listening();
      // Compiles the server's code.
      await clients.ask({ kind: 'digits', url: contenders[name], count: digits / 5 });
    }
    const figures = await inTurns('demo', rounds, contenders, async (url) => {
      const before = await countsOf(url);
      const seen = await clients.ask({ kind: 'digits', url, count: digits });
      const after = await countsOf(url);
      assert(seen.kind === 'digits');
      assert.equal(after.results - before.results, digits);
      return { perSecond: seen.perSecond, meanBatch: digits / (after.batches - before.batches) };
    });
    const rates = valuesOf(figures, (one) => one.perSecond);
    const mine = rates.get(OURS) ?? [];
    const rows = [['', 'digits/s', 'mean batch', `${OURS} /`]];
    for (const [name, all] of figures) {
      const theirs = rates.get(name) ?? [];
      rows.push([
        name,
        median(theirs).toFixed(0),
        median(all.map((one) => one.meanBatch)).toFixed(1),
        name === OURS ? '' : ratio(mine, theirs),
      ]);
    }
    printTable(rows);
    rates.delete('eager');
    console.log('');
    printTable([['best fixed wait', `${OURS} / best`, 'aim', ''], againstBest(rates, AIMS.demo)]);
  } finally {
    for (const demo of started) demo.kill('SIGTERM');
    await Promise.all(started.map((demo) => demo.exit));
  }
}

async function countsOf(url: string): Promise<{ results: number; batches: number }> {
  const { queues } = await liveView(url);
  const queue = queues.find(({ name }) => name === 'DigitClassifier.classify');
  assert(queue);
  return queue;
}

/** Each round measures every contender once, beginning with another one each time. */
async function inTurns<Contender, Figures>(
  title: string,
  rounds: number,
  contenders: Record<string, Contender>,
  measure: (contender: Contender, round: number) => Promise<Figures>,
): Promise<Map<string, Figures[]>> {
  const all = Object.entries(contenders);
  const figures = new Map(all.map(([name]) => [name, [] as Figures[]]));
  const start = performance.now();
  const bar = progressBar(`${title} {bar} {value} of {total} runs, {eta_formatted} left`);
  bar.start(rounds * all.length, 0);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < all.length; turn++) {
      const [name, contender] = all[(round + turn) % all.length] ?? [];
      assert(name !== undefined && contender !== undefined);
      figures.get(name)?.push(await measure(contender, round));
      bar.increment();
    }
  }
  bar.stop();
  // A log has no progress bar.
  if (!process.stderr.isTTY)
    console.error(
      `  ${title}: ${rounds * all.length} runs in ${((performance.now() - start) / 1000).toFixed(0)} s`,
    );
  return figures;
}

function valuesOf<Figures>(
  figures: Map<string, Figures[]>,
  value: (figures: Figures) => number,
): Map<string, number[]> {
  return new Map([...figures].map(([name, all]) => [name, all.map(value)]));
}

/** The last cells of a row: the best setting, our share of its throughput, the aim, and whether it is met. */
function againstBest(rates: Map<string, number[]>, aim: number): string[] {
  const of = (name: string, parity: number) =>
    (rates.get(name) ?? []).filter((_, round) => round % 2 === parity);
  const [best = ''] = [...rates.keys()]
    .filter((name) => name !== OURS)
    .sort((a, b) => median(of(b, 0)) - median(of(a, 0)));
  const [mine, theirs] = [of(OURS, 1), of(best, 1)];
  const isMet = mine.some((rate, round) => rate >= aim * (theirs[round] ?? NaN));
  return [best, ratio(mine, theirs, 3), String(aim), verdict(isMet)];
}

function verdict(isMet: boolean): string {
  rowsIn.all++;
  if (isMet) rowsIn.met++;
  return isMet ? 'met' : 'MISSED';
}

/** Clients in a process of their own, which ends with this one. */
class Clients {
  #process: ReturnType<typeof fork> | undefined;

  ask(task: Task): Promise<Seen> {
    this.#process ??= fork(new URL('http-clients.ts', import.meta.url), { execArgv: ['--import', 'tsx'] });
    const clients = this.#process;
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null) => {
        reject(new Error(`the clients ended with ${code}: see above`));
      };
      clients.once('exit', onExit);
      clients.once('message', (seen: Seen) => {
        clients.off('exit', onExit);
        resolve(seen);
      });
      clients.send(task);
    });
  }

  close(): void {
    this.#process?.disconnect();
    this.#process = undefined;
  }
}

const clients = new Clients();
