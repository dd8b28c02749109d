import { describe, expect, it } from '@jest/globals';
import type { Block } from './history.js';
import { checkShares, sharesOf } from './shares.js';

const block: Block = {
  id: 7,
  slot: 0,
  start: 100,
  end: 120,
  waited: 16,
  size: 16,
  reason: 0,
  errors: 0,
  count: 1,
  ran: 20,
};
const names = ['photo 1', 'photo 2'];

describe('Shares of a batch', () => {
  const countsOf = (counts: unknown, of: Partial<Block> = {}) =>
    sharesOf({ names, of: () => counts as number[] | undefined }, { ...block, ...of }, 'host:1').map(
      ({ name, count }) => [name, count],
    );

  it('are asked for by the number of the batch and the process that ran it', () => {
    const asked: unknown[] = [];
    sharesOf({ names, of: (...of) => (asked.push(of), undefined) }, block, 'host:1');
    expect(asked).toEqual([[7, 'host:1']]);
  });

  it('are those that are not empty, of no more inputs than there are', () => {
    expect(countsOf([12, 4])).toEqual([
      ['photo 1', 12],
      ['photo 2', 4],
    ]);
    expect(countsOf([0, 4])).toEqual([['photo 2', 4]]);
    expect(countsOf([12])).toEqual([['photo 1', 12]]);
    expect(countsOf([12, 400])).toEqual([
      ['photo 1', 12],
      ['photo 2', 4],
    ]);
    expect(countsOf([NaN, -1])).toEqual([]);
    expect(countsOf(undefined)).toEqual([]);
    expect(sharesOf(undefined, block, 'host:1')).toEqual([]);
  });

  it('are unknown of several batches in one block', () => {
    expect(countsOf([12, 4], { count: 2 })).toEqual([]);
  });

  it.each([
    ['no object', null, 'expected { names: string[], of: (batch, node) => number[] } or undefined'],
    ['no function', { names }, 'expected { names: string[], of: (batch, node) => number[] } or undefined'],
    [
      'an empty name',
      { names: ['a', ''], of: () => [] },
      'expected strings that are not empty, got ["a",""]',
    ],
    ['no name', { names: [], of: () => [] }, 'expected 1 to 4 names, got 0'],
    ['too many names', { names: ['a', 'b', 'c', 'd', 'e'], of: () => [] }, 'expected 1 to 4 names, got 5'],
  ])('are refused with %s', (_, shares, message) => {
    expect(() => checkShares(shares)).toThrow(message);
  });

  it('may be there or not', () => {
    const shares = { names, of: () => [] };
    expect(checkShares(shares)).toBe(shares);
    expect(checkShares(undefined)).toBeUndefined();
  });
});
