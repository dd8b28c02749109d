import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Tally } from './tally.js';

describe('Tally', () => {
  it('sums the counts from a key upwards, as a plain sum does', () => {
    const keys = fc.integer({ min: -5, max: 5 });
    fc.assert(
      fc.property(fc.array(fc.tuple(keys, fc.boolean())), fc.array(keys), (steps, asked) => {
        const tally = new Tally();
        const counts = new Map<number, number>();
        for (const [key, isMore] of steps) {
          const count = counts.get(key) ?? 0;
          if (!isMore && count === 0) continue;
          const change = isMore ? 1 : -1;
          tally.add(key, change);
          counts.set(key, count + change);
        }
        for (const least of asked) {
          const expected = [...counts].reduce((sum, [key, count]) => (key >= least ? sum + count : sum), 0);
          expect(tally.atLeast(least)).toBe(expected);
        }
      }),
    );
  });

  it('stays at logarithmic depth for keys that come in order', () => {
    const tally = new Tally();
    // A list instead of a tree would overflow the stack.
    for (let key = 0; key < 50_000; key++) tally.add(key, 1);
    expect(tally.atLeast(20_000)).toBe(30_000);
    for (let key = 0; key < 50_000; key++) tally.add(key, -1);
    expect(tally.atLeast(-1)).toBe(0);
  });
});
