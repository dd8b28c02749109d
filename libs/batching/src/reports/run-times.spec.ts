import { describe, expect, it } from '@jest/globals';
import { RunTimes } from './run-times.js';

describe('RunTimes', () => {
  it('says nothing before ten batches', () => {
    const times = new RunTimes();
    for (let i = 0; i < 9; i++) times.record(1, 5);
    expect(times.curve).toBeUndefined();
    times.record(1, 5);
    expect(times.curve).toBeDefined();
  });

  it('does not take the errors of its first estimates for deviations of the runs', () => {
    const times = new RunTimes();
    for (let i = 0; i < 10; i++) times.record(1, 64);
    for (let i = 0; i < 20; i++) times.record(16, 124);
    expect(times.curve?.deviation).toBeLessThan(3);
  });

  it('learns the line on which runs lie', () => {
    const times = new RunTimes();
    for (let i = 0; i < 400; i++) times.record(1 + (i % 32), 0.25 * (1 + (i % 32)) + 5);
    const { perInput, perBatch, deviation } = times.curve ?? { perInput: 0, perBatch: 0, deviation: 9 };
    expect(perInput).toBeCloseTo(0.25, 1);
    expect(perBatch).toBeCloseTo(5, 0);
    expect(deviation).toBeLessThan(0.5);
  });

  it('takes larger batches than it has seen to be slower in proportion', () => {
    const times = new RunTimes();
    for (let i = 0; i < 50; i++) times.record(8, 10);
    expect(times.curve).toMatchObject({
      perInput: expect.closeTo(1.25, 6),
      perBatch: expect.closeTo(0, 6),
    });
  });

  it('is not misled by one stall, and follows a lasting change', () => {
    const times = new RunTimes();
    const record = (count: number, factor: number): void => {
      for (let i = 0; i < count; i++) times.record(1 + (i % 8), factor * (3 + (i % 8)));
    };
    record(200, 1);
    times.record(4, 30_000);
    const of = (size: number): number => (times.curve?.perInput ?? 0) * size + (times.curve?.perBatch ?? 0);
    expect(of(4)).toBeLessThan(7);
    record(1000, 5);
    expect(of(4)).toBeGreaterThan(28);
    expect(of(4)).toBeLessThan(32);
  });
});
