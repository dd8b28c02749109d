import { strict as assert } from 'node:assert';
import v8 from 'node:v8';
import vm from 'node:vm';
import { BatchQueue } from '../libs/batching/src/core/batch-queue.js';
import { BatchTimeoutError, DeadlineError, QueueFullError } from '../libs/batching/src/core/errors.js';
import type { SubmitOptions } from '../libs/batching/src/core/options.js';
import type { QueueStats } from '../libs/batching/src/core/stats.js';
import { progressBar } from '../libs/figures/src/progress-bar.js';
import { printTable } from './table.js';

const BATCH_SIZE = 64;
const WAVE = 5_000;
/** Of which the queue takes so many: the rest of a wave is refused. */
const MAX_QUEUED = 4_500;
const POINTS = 10;

const outcomes = ['result', 'error', 'poison', 'abort', 'timeout', 'deadline', 'full'] as const;
type Outcome = (typeof outcomes)[number];

export interface Soak {
  /** Bytes on the heap after a collection, with an empty queue, at evenly spaced points. */
  heap: number[];
  /** What the callers saw. */
  seen: Record<Outcome, number>;
  stats: QueueStats;
}

/**
 * Sends `inputs` through one queue, in waves that overfill it. Callers get results, errors in a result's place and the
 * error of a run (with isolation: their own alone); give up by signals and by timeouts; and are refused by a queue that is
 * full or that could not serve them in time.
 */
export async function soak(inputs: number, progress: (done: number) => void): Promise<Soak> {
  const poison = new Error('poison');
  const broken = new Error('broken');
  const queue = new BatchQueue<number, number>(
    async (batch) => {
      if (batch.some((input) => input % 1009 === 0)) throw poison;
      // Some runs take their time, so that callers give up while they wait and while they run.
      if (batch[0] !== undefined && batch[0] % 211 === 0)
        await new Promise((resolve) => setTimeout(resolve, 4));
      return batch.map((input) => (input % 17 === 0 ? broken : 2 * input));
    },
    { batchSize: BATCH_SIZE, maxDelay: 1, maxQueued: MAX_QUEUED, isolateErrors: true },
  );
  const seen = Object.fromEntries(outcomes.map((outcome) => [outcome, 0])) as Record<Outcome, number>;
  const heap: number[] = [];
  let submitted = 0;
  while (submitted < inputs) {
    // One signal for all callers of a wave that have one, as of a client that has gone.
    const caller = new AbortController();
    const wave = Math.min(WAVE, inputs - submitted);
    const ends: Promise<void>[] = [];
    for (let index = 0; index < wave; index++) {
      const input = submitted++;
      ends.push(
        queue.submit(input, wish(input, caller.signal)).then(
          (result) => {
            assert.equal(result, 2 * input);
            seen.result++;
          },
          (error: unknown) => {
            seen[outcomeOf(error)]++;
          },
        ),
      );
    }
    setImmediate(() => {
      caller.abort('gone');
    });
    await Promise.all(ends);
    progress(submitted);
    if (Math.floor((submitted * POINTS) / inputs) > heap.length) heap.push(heapUsed());
  }
  const stats = queue.stats();
  await queue.stop();
  return { heap, seen, stats };

  function outcomeOf(error: unknown): Outcome {
    if (error === broken) return 'error';
    if (error === poison) return 'poison';
    if (error === 'gone') return 'abort';
    if (error instanceof BatchTimeoutError) return 'timeout';
    if (error instanceof DeadlineError) return 'deadline';
    assert(error instanceof QueueFullError);
    return 'full';
  }
}

/** A third of the callers want more than a result: an end to the wait, by a signal or after a time, or a priority. */
function wish(input: number, signal: AbortSignal): SubmitOptions | undefined {
  switch (input % 9) {
    case 1:
      return { signal };
    case 4:
      return { timeout: input % 8 };
    case 7:
      return { priority: input % 3, tenant: input % 5 };
    default:
      return undefined;
  }
}

/** Law 2, and that callers and counts agree. */
export function checkCounts(inputs: number, { seen, stats }: Soak): void {
  const { submitted, settled, results, errors, dropped, drops, waiting, running, blocked } = stats;
  assert.deepEqual(
    { submitted, waiting, running, blocked },
    { submitted: inputs, waiting: 0, running: 0, blocked: 0 },
  );
  assert.equal(settled + dropped, submitted);
  assert.equal(results, seen.result);
  assert.equal(drops.full, seen.full);
  // A caller that gave up while its batch ran counts as an error, one that still waited as dropped.
  assert.equal(
    errors + drops.aborted + drops.timeout,
    seen.error + seen.poison + seen.abort + seen.timeout + seen.deadline,
  );
  for (const outcome of outcomes) assert(seen[outcome] > 0, `no caller met the outcome ${outcome}`);
}

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc') as () => void;

export function heapUsed(): number {
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}

const INPUTS = 10_000_000;
/** What the heap may grow by after the first tenth; one byte kept for each input would be nine times as much. */
const GROWTH = 1_000_000;

/** `npm run bench soak`: ten million inputs through one queue leave nothing behind, and every one is accounted for. */
export async function benchSoak(): Promise<void> {
  console.log(`\nSoak: ${INPUTS.toLocaleString('en')} inputs through one queue, with mixed outcomes`);
  const bar = progressBar('{bar} {percentage} % of {total} inputs, {eta_formatted} left');
  bar.start(INPUTS, 0);
  const start = performance.now();
  const soaked = await soak(INPUTS, (done) => {
    bar.update(done);
  });
  bar.stop();
  checkCounts(INPUTS, soaked);
  const [first = NaN] = soaked.heap;
  const most = Math.max(...soaked.heap);
  assert(most - first < GROWTH, `the heap has grown by ${most - first} bytes`);
  console.log(
    `${((performance.now() - start) / 1000).toFixed(0)} s; heap after each tenth, MB: ` +
      soaked.heap.map((bytes) => (bytes / 1e6).toFixed(2)).join(' '),
  );
  printTable([
    ['outcome', 'callers'],
    ...Object.entries(soaked.seen).map(([outcome, callers]) => [outcome, callers.toLocaleString('en')]),
  ]);
  printMemory();
}

/** What one waiting input holds, its promise included. */
function printMemory(): void {
  const count = 500_000;
  const queue = new BatchQueue<number, number>((inputs) => inputs, {
    batchSize: BATCH_SIZE,
    maxDelay: 1,
    maxQueued: Infinity,
    autoStart: false,
  });
  const bytesOf = (submit: (input: number) => unknown) => {
    const kept = new Array<unknown>(count).fill(undefined);
    const before = heapUsed();
    for (let input = 0; input < count; input++) kept[input] = submit(input);
    const bytes = (heapUsed() - before) / kept.length;
    return bytes.toFixed(0);
  };
  const { signal } = new AbortController();
  printTable([
    ['a waiting input holds', 'bytes'],
    ['plain', bytesOf((input) => queue.submit(input))],
    ['with a priority', bytesOf((input) => queue.submit(input, { priority: 1 }))],
    ['with a signal, shared', bytesOf((input) => queue.submit(input, { signal }))],
    ['with a timeout', bytesOf((input) => queue.submit(input, { timeout: 1e6 }))],
    [
      'for comparison: a promise and its resolve',
      bytesOf((): unknown => {
        const kept: unknown[] = [];
        kept[0] = new Promise((resolve) => (kept[1] = resolve));
        return kept[1];
      }),
    ],
  ]);
  void queue.stop({ hard: true });
}
