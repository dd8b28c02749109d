import { afterEach, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { randomNumbers } from '../../../../figures/src/random-numbers.js';
import { BatchSizes } from './batch-sizes.js';
import { InferencePool, type PoolWorker } from './inference-pool.js';
import type { InferenceRuntime } from './inference-runtime.js';
import type { BatchSteps } from './inference-worker.js';

/** What a network costs in one worker, in milliseconds. */
interface Costs {
  perBatch: number;
  perInput: number;
  /** From the main thread to an idle worker, and back. */
  message: number;
}

const BATCH = 64;
/** The digits CNN on eight cores with wasm, about. */
const digits: Costs = { perBatch: 0.15, perInput: 0.1, message: 0.15 };

afterEach(() => {
  jest.restoreAllMocks();
});

/**
 * Runs batches in closed loop through a pool whose workers and clock are simulated: as many batches at a time
 * as `concurrency` says, each followed by the next.
 *
 * @returns the throughput as a share of that of workers that are never idle and run whole batches, and the
 *   mean size of pieces
 */
async function simulate(
  workers: number,
  concurrency: number,
  { perBatch, perInput, message }: Costs = digits,
): Promise<{ share: number; meanPiece: number }> {
  Logger.overrideLogger(['error']);
  let now = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  const random = randomNumbers(1);
  const events: { at: number; happen: () => void }[] = [];

  const openWorker = (): Promise<PoolWorker> => {
    let freeAt = 0;
    const predict = (_: string, { size }: { size: number }) =>
      new Promise<BatchSteps>((resolve) => {
        const run = (perBatch + perInput * size) * (0.9 + 0.2 * random());
        freeAt = Math.max(freeAt, now + message) + run;
        const happen = () => {
          resolve({ wait: 0, upload: 0, run, read: 0, answer: 0, lost: [] });
        };
        events.push({ at: freeAt + message, happen });
      });
    const prepared = { sizes: new BatchSizes(undefined, false), checksums: {}, version: '', since: 0 };
    return Promise.resolve({
      report: { backend: 'wasm', device: 'CPU', gpu: false, passedOver: [] },
      ready: true,
      join: () => undefined,
      load: () => Promise.resolve({ ...prepared, description: { inputs: [], outputs: [], signature: '' } }),
      predict,
      usedMemory: () => Promise.resolve({ tensors: 0, bytes: 0 }),
    } as unknown as PoolWorker);
  };
  const runtime = { module: 'SimulatedModule' } as InferenceRuntime;
  const pool = await InferencePool.open(runtime, { backend: 'wasm', workers }, openWorker);
  const model = await pool.load('m', { path: 'm' });

  let [batches, pieces] = [0, 0];
  const caller = async (): Promise<never> => {
    for (;;) {
      const plan = pool.plan(model, BATCH);
      const batch = { memory: new SharedArrayBuffer(0), asBytes: [], signature: '' };
      await Promise.all(
        plan.pieces.map((piece) => pool.predict(model, piece, { ...batch, size: piece.size })),
      );
      plan.done?.();
      batches += 1;
      pieces += plan.pieces.length;
    }
  };
  for (let i = 0; i < concurrency; i++) void caller();
  const runUntil = async (count: number): Promise<void> => {
    while (batches < count) {
      const next = events.reduce((first, event) => (event.at < first.at ? event : first));
      events.splice(events.indexOf(next), 1);
      now = next.at;
      next.happen();
      await new Promise(setImmediate);
    }
  };
  // Until the pool has learned into how many parts a batch is split.
  await runUntil(300);
  const [start, earlier] = [now, batches];
  pieces = 0;
  await runUntil(1500);
  const limit = (workers * BATCH) / (perBatch + perInput * BATCH);
  const inputs = BATCH * (batches - earlier);
  return { share: inputs / (now - start) / limit, meanPiece: inputs / pieces };
}

it.each([
  [2, 2, 0.9],
  [4, 2, 0.85],
  [8, 2, 0.8],
  [8, 4, 0.9],
  [8, 9, 0.9],
])('keeps %p workers busy with %p batches at a time', async (workers, concurrency, least) => {
  const { share } = await simulate(workers, concurrency);
  expect(share).toBeGreaterThan(least);
});

it.each([2, 8])('splits one batch over all of %p workers', async (workers) => {
  const { share, meanPiece } = await simulate(workers, 1);
  expect(meanPiece).toBeLessThan((1.2 * BATCH) / workers);
  const alone = await simulate(1, 1);
  expect(share * workers).toBeGreaterThan(0.5 * workers * alone.share);
});

it.each([2, 8])('runs whole batches where there are two for each of %p workers', async (workers) => {
  const { share, meanPiece } = await simulate(workers, 2 * workers);
  expect(share).toBeGreaterThan(0.97);
  expect(meanPiece).toBeGreaterThan(0.9 * BATCH);
});

it('leaves batches whole where a part takes as long as the whole', async () => {
  const { meanPiece } = await simulate(8, 1, { perBatch: 1, perInput: 0, message: 0.15 });
  expect(meanPiece).toBeGreaterThan(0.8 * BATCH);
});
