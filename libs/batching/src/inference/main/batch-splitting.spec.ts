import { describe, expect, it } from '@jest/globals';
import { BatchSplitting } from './batch-splitting.js';

describe('BatchSplitting', () => {
  /** Runs batches whose time depends on the parts. @returns how often each number of parts was chosen */
  function run(
    splitting: BatchSplitting,
    batches: number,
    size: number,
    time: (parts: number, batch: number) => number,
    choices = [1, 2],
  ): Record<number, number> {
    const chosen: Record<number, number> = {};
    for (let batch = 0; batch < batches; batch++) {
      const parts = splitting.choose(size, choices);
      splitting.record(size, parts, time(parts, batch));
      chosen[parts] = (chosen[parts] ?? 0) + 1;
    }
    return chosen;
  }

  it('splits where that takes less time', () => {
    const chosen = run(new BatchSplitting(), 320, 64, (parts) => 10 / parts + 0.1 * parts);
    expect(chosen[2]).toBeGreaterThan(300);
  });

  it('does not split where that takes longer', () => {
    const chosen = run(new BatchSplitting(), 320, 2, (parts) => 0.1 * parts);
    expect(chosen[1]).toBeGreaterThan(300);
  });

  it('finds the best of several numbers of parts', () => {
    const chosen = run(new BatchSplitting(), 320, 64, (parts) => 10 / parts + parts, [1, 2, 4, 7]);
    expect(chosen[4]).toBeGreaterThan(250);
  });

  it('learns for each size of batch by itself', () => {
    const splitting = new BatchSplitting();
    const time = (size: number) => (parts: number) => (0.1 * size) / parts + parts;
    const small = run(splitting, 320, 4, time(4));
    const large = run(splitting, 320, 64, time(64));
    expect(small[1]).toBeGreaterThan(300);
    expect(large[2]).toBeGreaterThan(300);
  });

  it('is not misled by a first time that is long', () => {
    const seen = new Set<number>();
    const chosen = run(new BatchSplitting(), 64, 64, (parts) => {
      if (seen.has(parts)) return 10 / parts;
      seen.add(parts);
      return parts === 2 ? 1000 : 10;
    });
    expect(chosen[2]).toBeGreaterThan(50);
  });

  it('notices that splitting has come to take less time, or more', () => {
    const splitting = new BatchSplitting();
    expect(run(splitting, 320, 64, (parts) => parts)[1]).toBeGreaterThan(300);
    expect(run(splitting, 640, 64, (parts) => 0.5 / parts)[2]).toBeGreaterThan(450);
    expect(run(splitting, 640, 64, (parts) => parts)[1]).toBeGreaterThan(450);
  });
});
