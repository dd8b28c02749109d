import { describe, expect, it } from '@jest/globals';
import { capacityFor, latencyAt, leastAim, type Replica } from './capacity.js';

const replica: Replica = {
  curve: { perInput: 0.25, perBatch: 5, deviation: 0 },
  batchSize: 32,
  concurrency: 1,
  delay: 0,
};

describe('capacityFor', () => {
  it('is the rate at which the p99 is the aim', () => {
    for (const aim of [20, 25, 30]) expect(latencyAt(capacityFor(aim, replica), replica)).toBeCloseTo(aim, 6);
  });

  it('grows with the aim up to nine tenths of full batches', () => {
    const rates = [16, 20, 24, 28, 40, 1000].map((aim) => capacityFor(aim, replica));
    expect(rates).toEqual(rates.toSorted((a, b) => a - b));
    expect(rates.at(-1)).toBeCloseTo((0.9 * 32) / 13, 6);
  });

  it('takes the least aim that can be held for one that cannot', () => {
    const least = leastAim(replica);
    expect(least).toBeGreaterThan(2 * 5.25);
    expect(capacityFor(1, replica)).toBe(capacityFor(least, replica));
    expect(capacityFor(1, replica)).toBeGreaterThan(0);
  });

  it('is smaller the more runs vary, the longer partial batches are held back, and the smaller batches are', () => {
    const capacity = capacityFor(25, replica);
    expect(capacityFor(25, { ...replica, curve: { ...replica.curve, deviation: 2 } })).toBeLessThan(capacity);
    expect(capacityFor(25, { ...replica, delay: 15 })).toBeLessThan(capacity);
    expect(capacityFor(25, { ...replica, batchSize: 4 })).toBeLessThan(capacity);
  });

  it('grows with the number of slots, and has no limit where the slots have none', () => {
    const rates = [1, 2, 4, 16].map((concurrency) => capacityFor(40, { ...replica, concurrency }));
    expect(rates).toEqual(rates.toSorted((a, b) => a - b));
    expect(capacityFor(40, { ...replica, concurrency: Infinity })).toBe(Infinity);
  });

  it('is that of full batches where partial ones wait for ever', () => {
    const held = { ...replica, delay: Infinity };
    expect(latencyAt(0, held)).toBe(Infinity);
    expect(leastAim(held)).toBe(Infinity);
    expect(capacityFor(25, held)).toBeCloseTo((0.9 * 32) / 13, 6);
  });

  it('is finite with batches of any size', () => {
    expect(capacityFor(40, { ...replica, batchSize: Infinity })).toBeLessThan(4);
    const free = { perInput: 0, perBatch: 5, deviation: 0 };
    expect(capacityFor(40, { ...replica, batchSize: Infinity, curve: free })).toBe(Infinity);
  });
});
