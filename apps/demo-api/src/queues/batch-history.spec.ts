import { describe, expect, it } from '@jest/globals';
import type { BatchingRegistry, BatchReport } from 'nest-batching';
import { BatchHistory } from './batch-history.js';

describe('BatchHistory', () => {
  function history(batches: number): BatchHistory {
    let tell: (report: BatchReport) => void = () => undefined;
    const registry = { onBatch: (listener: typeof tell) => ((tell = listener), () => undefined) };
    const made = new BatchHistory(registry as unknown as BatchingRegistry);
    made.onApplicationBootstrap();
    for (let size = 1; size <= batches; size++) {
      tell({ queue: 'q', size, reason: 'size', waited: 0, ran: 0, results: size, errors: 0 });
    }
    return made;
  }

  it('tells those after a number, oldest first', () => {
    const made = history(5);
    expect(made.last).toBe(5);
    expect(made.since(2).map(({ size }) => size)).toEqual([3, 4, 5]);
    expect(made.since(5)).toEqual([]);
    expect(made.since(-100)).toHaveLength(5);
  });

  it('forgets what is long ago', () => {
    const made = history(100_000);
    const all = made.since(0);
    expect(all.length).toBeGreaterThanOrEqual(4096);
    expect(all.length).toBeLessThanOrEqual(8192);
    expect(all.at(-1)?.size).toBe(100_000);
    expect(made.since(99_998).map(({ size }) => size)).toEqual([99_999, 100_000]);
  });
});
