import { describe, expect, it } from '@jest/globals';
import { NumberTable } from './number-table.js';

describe('NumberTable', () => {
  it('has each value under its number and name, and none that was removed', () => {
    const table = new NumberTable<string>();
    table.add(5, 'a');
    table.add(5, 'b', 'x');
    table.add(21, 'c');
    expect([table.get(5), table.get(5, 'x'), table.get(21), table.get(37)]).toEqual([
      'a',
      'b',
      'c',
      undefined,
    ]);
    expect([table.delete(5), table.delete(5), table.delete(37)]).toEqual([true, false, false]);
    expect([table.get(5), table.get(5, 'x'), table.get(21)]).toEqual([undefined, 'b', 'c']);
    expect(table.size).toBe(2);
  });

  it('does what a Map does, whatever comes and goes, up to the largest number of 32 bits', () => {
    const table = new NumberTable<number>();
    const map = new Map<number, number>();
    let seed = 1;
    const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below;
    for (let step = 0; step < 3_000; step++) {
      const number = random(2) === 0 ? random(300) : 0xffff_ffff - random(300);
      if (random(3) === 0) expect(table.delete(number)).toBe(map.delete(number));
      else if (!map.has(number)) {
        map.set(number, step);
        table.add(number, step);
      }
      expect(table.get(number)).toBe(map.get(number));
      expect(table.size).toBe(map.size);
    }
    const sorted = [...map].sort(([a], [b]) => a - b).map(([, value]) => value);
    expect(table.values()).toEqual(sorted);
  });
});
