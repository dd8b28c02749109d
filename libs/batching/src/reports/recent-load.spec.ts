import { describe, expect, it } from '@jest/globals';
import { RecentLoad } from './recent-load.js';

describe('RecentLoad', () => {
  it('is the rate since the beginning, and later that of the window', () => {
    const load = new RecentLoad(30_000, 0);
    expect(load.read({ arrived: 0, ran: 0 }, 0)).toBeUndefined();
    expect(load.read({ arrived: 50, ran: 40 }, 100)).toEqual({ rate: 0.5, running: 0.4 });
    for (let second = 1; second <= 60; second++) load.read({ arrived: 1000 * second, ran: 0 }, 1000 * second);
    for (let second = 61; second <= 90; second++) load.read({ arrived: 60_000, ran: 0 }, 1000 * second);
    expect(load.read({ arrived: 60_000, ran: 0 }, 91_000)?.rate).toBe(0);
  });

  it('is the same however often it is read in between', () => {
    const rates = [1000, 100, 10, 1].map((interval) => {
      const load = new RecentLoad(30_000, 0);
      for (let now = interval; now < 60_000; now += interval) {
        load.read({ arrived: now < 45_000 ? 0 : now - 45_000, ran: 0 }, now);
      }
      return load.read({ arrived: 15_000, ran: 0 }, 60_000)?.rate ?? NaN;
    });
    for (const rate of rates) expect(rate).toBeCloseTo(0.5, 1);
  });

  it('is that since the last reading where it is read more rarely than the window is long', () => {
    const load = new RecentLoad(1000, 0);
    load.read({ arrived: 10, ran: 0 }, 60_000);
    expect(load.read({ arrived: 70, ran: 0 }, 120_000)?.rate).toBe(0.001);
  });
});
