import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { RecentDistribution } from './distribution.js';

describe('RecentDistribution', () => {
  it('returns quantiles within 1/32 of the exact ones, and never above the maximum', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 300 }),
        (values) => {
          const distribution = new RecentDistribution(1000);
          for (const value of values) distribution.record(value, 1, 0);
          const sorted = values.toSorted((a, b) => a - b);
          const summary = distribution.summarize(0);
          for (const [key, rank] of [
            ['p50', 0.5],
            ['p90', 0.9],
            ['p99', 0.99],
          ] as const) {
            const exact = sorted[Math.ceil(rank * values.length) - 1] ?? NaN;
            expect(summary[key]).toBeGreaterThanOrEqual(exact * (1 - 1e-9) - 0.001);
            expect(summary[key]).toBeLessThanOrEqual(exact * (1 + 1 / 32) + 0.001);
            expect(summary[key]).toBeLessThanOrEqual(summary.max);
          }
          expect(summary.max).toBeCloseTo(sorted.at(-1) ?? NaN, 6);
          expect(summary.count).toBe(values.length);
          expect(summary.mean).toBeCloseTo(values.reduce((sum, value) => sum + value) / values.length, 3);
        },
      ),
    );
  });

  it('keeps small whole numbers exactly', () => {
    const sizes = new RecentDistribution(1);
    for (let size = 1; size <= 63; size++) sizes.record(size, 1, 0);
    expect(sizes.summarize(0)).toEqual({ count: 63, mean: 32, p50: 32, p90: 57, p99: 63, max: 63 });
  });

  it('counts equal values at once', () => {
    const waits = new RecentDistribution(1000);
    waits.record(1, 99, 0);
    waits.record(5, 1, 0);
    expect(waits.summarize(0)).toMatchObject({
      count: 100,
      p50: expect.closeTo(1, 1),
      p99: expect.closeTo(1, 1),
      max: 5,
    });
  });

  it('forgets values older than two minutes, and keeps those of the last minute', () => {
    const waits = new RecentDistribution(1000);
    waits.record(7, 1, 0);
    waits.record(3, 1, 59_000);
    expect(waits.summarize(61_000)).toMatchObject({ count: 2, max: 7 });
    waits.record(1, 1, 119_000);
    expect(waits.summarize(121_500)).toMatchObject({ count: 1, max: 1 });
    expect(waits.summarize(500_000)).toEqual({ count: 0, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 });
  });

  it('holds values beyond its largest bucket', () => {
    const waits = new RecentDistribution(1000);
    waits.record(1e9, 1, 0);
    expect(waits.summarize(0)).toMatchObject({ count: 1, max: 1e9 });
  });

  it('counts all values since it was made, up to bounds, across windows', () => {
    const sizes = new RecentDistribution(1);
    const bounds = [1, 2, 4, 64, 128];
    const expected = { counts: [1, 2, 3, 4, 5], count: 6, sum: 1299 };
    [1, 2, 4, 64, 128, 1100].forEach((size, minute) => {
      sizes.record(size, 1, minute * 60_000);
    });
    expect(sizes.totals(bounds)).toEqual(expected);
    sizes.summarize(600_000);
    expect(sizes.totals(bounds)).toEqual(expected);
  });

  it('never counts less than before', () => {
    const waits = new RecentDistribution(1000);
    const bounds = [0.5, 1, 10, 100, 1000];
    const recorded = fc.record({
      value: fc.double({ min: -1, max: 2000, noNaN: true }),
      pause: fc.nat(90_000),
    });
    let now = 0;
    let before = waits.totals(bounds);
    fc.assert(
      fc.property(recorded, ({ value, pause }) => {
        now += pause;
        waits.record(value, 1, now);
        const after = waits.totals(bounds);
        expect(after.count).toBe(before.count + 1);
        expect(after.sum).toBeGreaterThanOrEqual(before.sum);
        after.counts.forEach((count, place) => {
          expect(count).toBeGreaterThanOrEqual(before.counts[place] ?? NaN);
        });
        before = after;
      }),
      { numRuns: 300 },
    );
  });
});
