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
const ROUNDS = 3;
const MILLISECONDS = 4000;
const CAP = 120;

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
 * `npm run bench realtime`: some rows of the simulator with the real queue, the real clock and a batch function that
 * sleeps. A timer rings up to a millisecond late, and inputs that come in one turn of the event loop come together.
 */
export async function benchRealtime(): Promise<void> {
  console.log(
    `\nReal time: batches of n sleep ${ALPHA} ms · n + ${BETA} ms, batch size ${BATCH_SIZE}, mean latency in ms, ` +
      `median of ${ROUNDS} rounds of ${MILLISECONDS} ms after as many to learn`,
  );
  const names = Object.keys(contenders);
  const latencies = new Map<string, number[]>();
  for (let round = 1; round <= ROUNDS; round++) {
    // All side by side: they sleep, and so hardly take each other's time.
    const rows = Object.entries(loads).flatMap(([load, drive]) =>
      Object.entries(contenders).map(async ([name, options]) => {
        const latency = await measure(options, drive, round);
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
  await printOverload();
}

/** More than can be served, and every caller gives up after 400 ms: what the queue refuses, it refuses at once. */
async function printOverload(): Promise<void> {
  const rows = [['1.3 × capacity, timeout 400 ms', 'served', 'p99', 'refused', 'within', 'late', '']];
  for (let round = 1; round <= ROUNDS; round++) {
    const { served, latencies, refusals, late } = await overload(400, round);
    const p99 = quantile(latencies, 0.99);
    const all = latencies.length + refusals.length + late;
    rows.push([
      `round ${round}`,
      `${(100 * served).toFixed(1)} % of capacity`,
      `${p99.toFixed(0)} ms`,
      `${((100 * refusals.length) / all).toFixed(1)} %`,
      `p99 ${quantile(refusals, 0.99).toFixed(2)} ms`,
      `${((100 * late) / all).toFixed(1)} %`,
      served >= 0.975 && p99 <= 400 ? 'met' : 'missed',
    ]);
  }
  printTable(rows);
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? NaN;
}

async function overload(timeout: number, seed: number) {
  const queue = sleepingQueue({ dispatch: 'adaptive', maxDelay: CAP, maxQueued: Infinity });
  const latencies: number[] = [];
  const refusals: number[] = [];
  let late = 0;
  const submit = async (input: number) => {
    const submitted = performance.now();
    const elapsed = () => performance.now() - submitted;
    try {
      assert.equal(await queue.submit(input, { timeout }), input * input);
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
  const until = from + 2 * MILLISECONDS;
  // A batch sleeps up to a millisecond longer than it should: the capacity is that of the batches as they ran.
  const full: number[] = [];
  queue.onBatch(({ size, ran }) => {
    if (size === BATCH_SIZE && performance.now() >= from) full.push(ran);
  });
  await openLoop(submit, until, seed, 1, 0, 1.3);
  await queue.stop();
  const mean = full.reduce((sum, ran) => sum + ran, 0) / full.length;
  return { served: latencies.length / (until - from) / (BATCH_SIZE / mean), latencies, refusals, late };
}

/** Mean latency under a load, once the queue has seen it for a while. */
async function measure(
  options: Pick<BatchOptions, 'dispatch' | 'maxDelay'>,
  drive: Drive,
  seed: number,
): Promise<number> {
  const queue = sleepingQueue(options);
  const learnUntil = performance.now() + MILLISECONDS;
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
    learnUntil + MILLISECONDS,
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
