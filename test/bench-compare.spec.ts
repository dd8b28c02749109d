import { describe, expect, it } from '@jest/globals';
import { judge } from '../bench/compare.js';

const times = (rates: readonly number[], factor: number) => rates.map((rate) => factor * rate);
/** The machine is half as fast in some rounds as in others; both sides of a round meet the same. */
const base = [100, 50, 90, 100, 60, 100, 80, 100, 50, 100, 70];

describe('npm run bench compare', () => {
  it('judges by the ratios of the rounds, not by the totals', () => {
    expect(judge(base, times(base, 1))).toEqual({ ratio: 1, least: 1, most: 1, isWorse: false });
    expect(judge(base, times(base, 0.9))).toMatchObject({ ratio: expect.closeTo(0.9), isWorse: true });
    expect(judge(base, times(base, 1.1)).isWorse).toBe(false);
  });

  it('calls worse only what loses more than 3 % ...', () => {
    expect(judge(base, times(base, 0.975)).isWorse).toBe(false);
    expect(judge(base, times(base, 0.965)).isWorse).toBe(true);
  });

  it('... and does so in all rounds but one of eleven', () => {
    const here = times(base, 0.8);
    const once = here.with(3, 120);
    expect(judge(base, once)).toMatchObject({ most: expect.closeTo(0.8), isWorse: true });
    const twice = once.with(4, 70);
    expect(judge(base, twice).most).toBeGreaterThan(1);
    expect(judge(base, twice).isWorse).toBe(false);
    // Of few rounds none may be left out.
    expect(judge(base.slice(0, 7), once.slice(0, 7)).isWorse).toBe(false);
  });
});
