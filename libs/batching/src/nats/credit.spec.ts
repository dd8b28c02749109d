import { describe, expect, it, jest } from '@jest/globals';
import { Credit } from './credit.js';

describe('Credit', () => {
  it('asks for all at first, and then when no more than half of the prefetch is asked for', () => {
    const credit = new Credit();
    expect(credit.take(8, 8, 1000)).toBe(8);
    // Two came and ended: there is room, and still enough asked for.
    credit.came();
    credit.came();
    expect(credit.take(8, 8, 1000)).toBe(0);
    credit.came();
    credit.came();
    expect(credit.take(8, 8, 1000)).toBe(4);
  });

  it('never asks for more than there is room for, with what was asked before', () => {
    const credit = new Credit();
    expect(credit.take(8, 3, 1000)).toBe(3);
    expect(credit.take(8, 3, 1000)).toBe(0);
    expect(credit.take(8, 5, 1000)).toBe(2);
    expect(credit.take(8, 4, 1000)).toBe(0);
  });

  it('asks again for what the broker says that it has not delivered', () => {
    const credit = new Credit();
    credit.take(4, 4, 1000);
    credit.came();
    credit.ended(3);
    expect(credit.take(4, 3, 1000)).toBe(3);
  });

  it('does not lose credit for good when the broker says nothing', () => {
    const credit = new Credit();
    const now = jest.spyOn(performance, 'now').mockReturnValue(0);
    expect(credit.take(4, 4, 1000)).toBe(4);
    now.mockReturnValue(1900);
    expect(credit.take(4, 4, 1000)).toBe(0);
    now.mockReturnValue(2100);
    expect(credit.take(4, 4, 1000)).toBe(4);
    now.mockRestore();
  });
});
