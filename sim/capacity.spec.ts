import { describe, expect, it, jest } from '@jest/globals';
import { capacityFor, leastAim } from '../libs/batching/src/reports/capacity.js';
import { simulateQueues } from './queue-simulator.js';
import { poisson } from './simulator.js';

// Seconds each, but a minute where the heap of the process is full of the modules of other specs.
jest.setTimeout(300_000);

/** The p99 of a real queue under independent callers, at this multiple of the capacity for the aim; over the aim. */
async function p99OverAim(
  [alpha, beta, batchSize, slots]: readonly [number, number, number, number],
  multiple: number,
  overload: number,
): Promise<number> {
  const replica = {
    curve: { perInput: alpha, perBatch: beta, deviation: 0 },
    batchSize,
    concurrency: slots,
    delay: 0,
  };
  const aim = multiple * leastAim(replica);
  const curve = { alpha, beta, batchSize };
  const full = batchSize / (alpha * batchSize + beta);
  const load = poisson((overload * capacityFor(aim, replica)) / full, curve);
  const scene = { curve, dispatch: 'adaptive', maxDelay: 5, slots, items: 6000, seed: 5 } as const;
  return (await simulateQueues({ ...scene, load })).p99 / aim;
}

describe('capacityFor, simulated', () => {
  // What a batch of n takes is alpha · n + beta; then batchSize and slots.
  const queues = [
    [0.25, 5, 32, 1],
    [0.25, 5, 32, 2],
    [1, 20, 32, 8],
    [0, 10, 16, 1],
    [1, 0, 8, 1],
    [10, 0, 1, 1],
    [0.25, 5, 256, 1],
  ] as const;

  it.each(queues)('holds the aim: %d n + %d ms, at most %d, %d slots', async (...queue) => {
    for (const multiple of [1, 1.5, 2.5, 6]) {
      expect(await p99OverAim(queue, multiple, 1)).toBeLessThan(1.05);
    }
  });

  it.each(queues)('wastes little: %d n + %d ms, at most %d, %d slots', async (...queue) => {
    expect(await p99OverAim(queue, 2, 1.6)).toBeGreaterThan(1);
  });
});
