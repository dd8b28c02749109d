import { describe, expect, it } from '@jest/globals';
import { randomNumbers } from './random-numbers.js';

function take(count: number, seed: number): number[] {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, random);
}

describe('randomNumbers', () => {
  // The numbers of the published C code, so that files and simulations made years apart have the same ones.
  it('returns the numbers of mulberry32', () => {
    expect(take(4, 1).map((number) => number * 2 ** 32)).toEqual([
      2693262067, 11749833, 2265367787, 4213581821,
    ]);
  });

  it('returns the same numbers for the same seed, and others for another', () => {
    expect(take(100, 7)).toEqual(take(100, 7));
    expect(take(100, 7)).not.toEqual(take(100, 8));
    expect(take(3, 2 ** 32 + 7)).toEqual(take(3, 7));
    expect(take(3, -1)).toEqual(take(3, 2 ** 32 - 1));
  });

  it('returns numbers that are evenly distributed from 0 to 1', () => {
    const numbers = take(10_000, 1);
    expect(numbers.reduce((sum, number) => sum + number, 0) / 10_000).toBeCloseTo(0.5, 1);
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...numbers)).toBeLessThan(1);
  });
});
