import { strict as assert } from 'node:assert';
import { setTimeout as sleep } from 'node:timers/promises';
import { BatchQueue, type BatchOptions } from 'nest-batching';
import { seeded } from './simulator.js';
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
}

/** Mean latency under a load, once the queue has seen it for a while. */
async function measure(
  options: Pick<BatchOptions, 'dispatch' | 'maxDelay'>,
  drive: Drive,
  seed: number,
): Promise<number> {
  const queue = new BatchQueue<number, number>(
    async (inputs) => {
      await sleep(ALPHA * inputs.length + BETA);
      return inputs.map((input) => input * input);
    },
    { batchSize: BATCH_SIZE, ...options },
  );
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

/** Groups of inputs, each spread over some milliseconds, at random moments and at a load of .3. */
async function openLoop(submit: Submit, until: number, seed: number, size: number, spread: number) {
  const random = seeded(seed);
  const results: Promise<number>[] = [];
  let at = performance.now();
  for (;;) {
    at -= (Math.log(1 - random()) * size) / (0.3 * CAPACITY);
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
