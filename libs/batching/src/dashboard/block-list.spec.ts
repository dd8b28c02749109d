import { describe, expect, it } from '@jest/globals';
import { BlockList, type Ended } from './block-list.js';

const batch = (id: number, start: number, more: Partial<Ended> = {}): Ended => ({
  id,
  slot: 0,
  start,
  waited: 2,
  size: 8,
  reason: 0,
  errors: 0,
  ran: 1,
  ...more,
});

describe('BlockList', () => {
  it('gives each batch once, by itself as long as there are few', () => {
    const list = new BlockList();
    list.add(batch(1, 10));
    list.add(batch(2, 12.3456, { slot: 1, waited: 7, size: 3, reason: 2, errors: 1, ran: 4 }));
    expect(list.take()).toEqual([
      [1, 0, 10, 1, 2, 8, 0, 0, 1, 1],
      [2, 1, 12.35, 4, 7, 3, 2, 1, 1, 4],
    ]);
    expect(list.take()).toEqual([]);
  });

  it('joins batches of one slot that are too many to tell apart, and loses none of them', () => {
    const list = new BlockList();
    const count = 10_000;
    for (let id = 0; id < count; id++) {
      list.add(
        batch(id, id / 50, {
          slot: id % 2,
          ran: 0.01,
          reason: id % 4 === 0 ? 1 : 0,
          errors: id % 100 === 0 ? 1 : 0,
        }),
      );
    }
    const blocks = list.take();
    expect(blocks.length).toBeLessThanOrEqual(64);
    expect(blocks.length).toBeGreaterThan(16);
    const sum = (column: number) => blocks.reduce((total, block) => total + (block[column] ?? 0), 0);
    expect(sum(8)).toBe(count);
    expect(sum(5)).toBe(8 * count);
    expect(sum(7)).toBe(count / 100);
    expect(sum(9)).toBeCloseTo(0.01 * count, 0);
    for (const slot of [0, 1]) {
      const row = blocks.filter((block) => block[1] === slot);
      for (const [place, [, , start]] of row.entries()) {
        const [, , before = 0, took = 0] = row[place - 1] ?? [];
        expect(start).toBeGreaterThanOrEqual(before + took - 0.01);
      }
    }
    // Of even ones half left by reason 1, of odd ones none.
    expect(new Set(blocks.filter(([, slot]) => slot === 1).map((block) => block[6]))).toEqual(new Set([0]));
  });

  it('tells batches apart again after a rush', () => {
    const list = new BlockList();
    for (let id = 0; id < 1000; id++) list.add(batch(id, id / 10));
    list.take();
    for (let id = 0; id < 3; id++) list.add(batch(id, 200 + id / 10));
    expect(list.take()).toHaveLength(3);
  });
});
