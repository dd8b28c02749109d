import { strict as assert } from 'node:assert';
import { setTimeout as sleep } from 'node:timers/promises';
import { BatchQueue, type BatchOptions, BatchTimeoutError, DeadlineError } from 'nest-batching';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import { median, printTable, ratio } from './table.js';

/** The simulator's first curve, four times slower: Node's timers know whole milliseconds only. */
const ALPHA = 1;
const BETA = 20;
const BATCH_SIZE = 32;
const CAPACITY = BATCH_SIZE / (ALPHA * BATCH_SIZE + BETA);
const CAP = 120;
/** Of 1.3 times the capacity, at least so much of it is served, and the 99th percentile within the timeout. */
const SERVED = 0.975;
const TIMEOUT = 400;

interface Effort {
  readonly rounds: number;
  readonly milliseconds: number;
  readonly takes: string;
}

const FULL: Effort = { rounds: 5, milliseconds: 4000, takes: 'a minute and a half' };
const QUICK: Effort = { rounds: 1, milliseconds: 1000, takes: 'ten seconds' };

const contenders: Record<string, Pick<BatchOptions, 'dispatch' | 'maxDelay'>> = {
  adaptive: { dispatch: 'adaptive', maxDelay: CAP },
  eager: { dispatch: 'eager', maxDelay: CAP },
  'fixed 4': { dispatch: 'fixed', maxDelay: 4 },
  'fixed 10': { dispatch: 'fixed', maxDelay: 10 },
  'fixed 40': { dispatch: 'fixed', maxDelay: 40 },
};

type Submit = (input: number) => Promise<number>;
/** Submits until `until`; resolves when all have their result. */
type Drive = (submit: Submit, until: number, seed: number) => Promise<unknown>;

const loads: Record<string, Drive> = {
  'Poisson ρ 0.3': (submit, until, seed) => openLoop(submit, until, seed, 1, 0),
  'bursts of 16 in 8 ms, ρ 0.3': (submit, until, seed) => openLoop(submit, until, seed, 16, 8),
  'closed loop N 1': (submit, until) => closedLoop(submit, until, 1),
  'closed loop N 8': (submit, until) => closedLoop(submit, until, 8),
  'closed loop N 32': (submit, until) => closedLoop(submit, until, 32),
};

/**
 * `npm run bench realtime [quick]`: some rows of the simulator with the real queue, the real clock and a batch function that
 * sleeps. A timer rings up to a millisecond late, and inputs that come in one turn of the event loop come together.
 */
export async function benchRealtime(quick = false): Promise<void> {
  const { rounds, milliseconds, takes } = quick ? QUICK : FULL;
  console.log(
    `\nReal time: batches of n sleep ${ALPHA} ms · n + ${BETA} ms, batch size ${BATCH_SIZE}, mean latency in ms, ` +
      `median of ${rounds} rounds of ${milliseconds} ms after as many to learn; about ${takes} in all`,
  );
  const names = Object.keys(contenders);
  const latencies = new Map<string, number[]>();
  for (let round = 1; round <= rounds; round++) {
    // All side by side: they sleep, and so hardly take each other's time.
    const rows = Object.entries(loads).flatMap(([load, drive]) =>
      Object.entries(contenders).map(async ([name, options]) => {
        const latency = await measure(options, drive, round, milliseconds);
        latencies.set(load + name, [...(latencies.get(load + name) ?? []), latency]);
      }),
    );
    await Promise.all(rows);
  }
  const rows = [['', ...names, 'adaptive / eager', 'adaptive / best fixed']];
  for (const load of Object.keys(loads)) {
    const of = (name: string) => latencies.get(load + name) ?? [];
    const waits = names.filter((name) => name.startsWith('fixed'));
    const best = waits.reduce((one, other) => (median(of(other)) < median(of(one)) ? other : one));
    rows.push([
      load,
      ...names.map((name) => median(of(name)).toFixed(1)),
      ratio(of('adaptive'), of('eager')),
      `${ratio(of('adaptive'), of(best))} ${best}`,
    ]);
  }
  printTable(rows);
  await printOverload(rounds, milliseconds);
}

/** More than can be served, and every caller gives up after a while: what the queue refuses, it refuses at once. */
async function printOverload(rounds: number, milliseconds: number): Promise<void> {
  const all: OverloadFigures[] = [];
  for (let round = 1; round <= rounds; round++) all.push(await overload(round, milliseconds));
  const middle = (key: keyof OverloadFigures) => median(all.map((figures) => figures[key]));
  const cells = (of: (key: keyof OverloadFigures) => number) => [
    `${(100 * of('served')).toFixed(1)} % of capacity`,
    `${of('p99').toFixed(0)} ms`,
    `${(100 * of('refused')).toFixed(1)} %`,
    `p99 ${of('refusedWithin').toFixed(2)} ms`,
    `${(100 * of('late')).toFixed(1)} %`,
  ];
  const isMet = middle('served') >= SERVED && middle('p99') <= TIMEOUT;
  console.log(
    `\nOverload: aim at least ${100 * SERVED} % of capacity served, p99 at most ${TIMEOUT} ms, in the median`,
  );
  printTable([
    [`1.3 × capacity, timeout ${TIMEOUT} ms`, 'served', 'p99', 'refused', 'within', 'late', ''],
    ...all.map((figures, index) => [`round ${index + 1}`, ...cells((key) => figures[key]), '']),
    ['median', ...cells(middle), isMet ? 'met' : 'MISSED'],
  ]);
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? NaN;
}

interface OverloadFigures {
  /** Share of the capacity. */
  served: number;
  /** Milliseconds, of what was served. */
  p99: number;
  /** Share of the inputs. */
  refused: number;
  /** Milliseconds, at the 99th percentile. */
  refusedWithin: number;
  /** Share of the inputs that were taken in and not served in time. */
  late: number;
}

async function overload(seed: number, milliseconds: number): Promise<OverloadFigures> {
  const queue = sleepingQueue({ dispatch: 'adaptive', maxDelay: CAP, maxQueued: Infinity });
  const latencies: number[] = [];
  const refusals: number[] = [];
  let late = 0;
  const submit = async (input: number) => {
    const submitted = performance.now();
    const elapsed = () => performance.now() - submitted;
    try {
      assert.equal(await queue.submit(input, { timeout: TIMEOUT }), input * input);
      if (submitted >= from) latencies.push(elapsed());
    } catch (error) {
      assert(error instanceof DeadlineError || error instanceof BatchTimeoutError);
      if (submitted >= from && error instanceof DeadlineError) refusals.push(elapsed());
      else if (submitted >= from) late++;
    }
    return input;
  };
  // The first two seconds fill the queue, and teach it how long a batch takes.
  const from = performance.now() + 2000;
  const until = from + 2 * milliseconds;
  // A batch sleeps up to a millisecond longer than it should: the capacity is that of the batches as they ran.
  const full: number[] = [];
  queue.onBatch(({ size, ran }) => {
    if (size === BATCH_SIZE && performance.now() >= from) full.push(ran);
  });
  await openLoop(submit, until, seed, 1, 0, 1.3);
  await queue.stop();
  const mean = full.reduce((sum, ran) => sum + ran, 0) / full.length;
  const inputs = latencies.length + refusals.length + late;
  return {
    served: latencies.length / (until - from) / (BATCH_SIZE / mean),
    p99: quantile(latencies, 0.99),
    refused: refusals.length / inputs,
    refusedWithin: quantile(refusals, 0.99),
    late: late / inputs,
  };
}

/** Mean latency under a load, once the queue has seen it for a while. */
async function measure(
  options: Pick<BatchOptions, 'dispatch' | 'maxDelay'>,
  drive: Drive,
  seed: number,
  milliseconds: number,
): Promise<number> {
  const queue = sleepingQueue(options);
  const learnUntil = performance.now() + milliseconds;
  let sum = 0;
  let count = 0;
  await drive(
    async (input) => {
      const submitted = performance.now();
      const result = await queue.submit(input);
      assert.equal(result, input * input);
      if (submitted >= learnUntil) {
        sum += performance.now() - submitted;
        count++;
      }
      return result;
    },
    learnUntil + milliseconds,
    seed,
  );
  await queue.stop();
  return sum / count;
}

function sleepingQueue(options: Omit<BatchOptions, 'batchSize'>): BatchQueue<number, number> {
  const run = async (inputs: number[]) => {
    await sleep(ALPHA * inputs.length + BETA);
    return inputs.map((input) => input * input);
  };
  return new BatchQueue<number, number>(run, { batchSize: BATCH_SIZE, ...options });
}

/** Groups of inputs, each spread over some milliseconds, at random moments. */
async function openLoop(
  submit: Submit,
  until: number,
  seed: number,
  size: number,
  spread: number,
  rho = 0.3,
) {
  const random = randomNumbers(seed);
  const results: Promise<number>[] = [];
  let at = performance.now();
  for (;;) {
    at -= (Math.log(1 - random()) * size) / (rho * CAPACITY);
    if (at >= until) break;
    const moments = Array.from({ length: size }, () => at + spread * random()).sort((a, b) => a - b);
    for (const moment of moments) {
      // Those whose time has come while this slept follow at once.
      if (moment > performance.now()) await sleep(moment - performance.now());
      results.push(submit(results.length));
    }
  }
  return Promise.all(results);
}

/** Callers that submit again as soon as they have their result. */
async function closedLoop(submit: Submit, until: number, callers: number) {
  const caller = async (input: number) => {
    while (performance.now() < until) await submit(input);
  };
  await Promise.all(Array.from({ length: callers }, (_, input) => caller(input)));
}
