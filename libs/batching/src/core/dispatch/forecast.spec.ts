import { describe, expect, it } from '@jest/globals';
import { type Backlog, expectedWait, lateness, untilSlot } from './forecast.js';
import { ServiceTime } from './service-time.js';

/** Has learned that a batch takes 10 ms, give or take `jitter`. */
function learned(jitter = 0): ServiceTime {
  const serviceTime = new ServiceTime();
  for (let batch = 0; batch < 200; batch++)
    serviceTime.record(8, 10 + (batch % 2 === 0 ? jitter : -jitter), 100);
  return serviceTime;
}

const running = (...leftAt: number[]) => new Set(leftAt.map((at) => ({ leftAt: at, size: 8 })));

const idle: Backlog = { batchSize: 8, concurrency: 1, ahead: 0, running: running() };

describe('expectedWait', () => {
  it('is 0 with a free slot and less than a batch ahead', () => {
    expect(expectedWait({ ...idle, ahead: 7 }, learned(), 0)).toBe(0);
  });

  it('is the rest of the batch that ends first, and the batches ahead, shared by the slots', () => {
    const one = { ...idle, ahead: 17, running: running(96) };
    expect(expectedWait(one, learned(), 100)).toBeCloseTo(6 + 2 * 10);
    const two = { ...one, concurrency: 2, running: running(96, 92) };
    expect(expectedWait(two, learned(), 100)).toBeCloseTo(2 + 10);
  });

  it('is not NaN with an unbounded batchSize', () => {
    const unbounded = { ...idle, batchSize: Infinity, ahead: 100 };
    expect(expectedWait(unbounded, learned(), 0)).toBe(0);
    expect(expectedWait({ ...unbounded, running: running(96) }, learned(), 100)).toBeCloseTo(6);
    const slots = { ...idle, concurrency: Infinity, ahead: 100, running: running(96) };
    expect(expectedWait(slots, learned(), 100)).toBe(0);
  });

  it('is 0 for an overdue batch, never negative', () => {
    expect(expectedWait({ ...idle, running: running(50) }, learned(), 100)).toBe(0);
  });
});

describe('untilSlot', () => {
  it('is 0 with a free slot, the rest of the batch that ends first with none, and Infinity without slots', () => {
    expect(untilSlot(running(96), 2, learned(), 100)).toBe(0);
    expect(untilSlot(running(96, 92), 2, learned(), 100)).toBeCloseTo(2);
    expect(untilSlot(running(), 0, learned(), 100)).toBe(Infinity);
  });
});

describe('lateness', () => {
  const busy = { ...idle, ahead: 8, running: running(100) };

  it('is the wait and its own run, less the timeout', () => {
    expect(lateness(busy, 25, learned(), 100)).toBeCloseTo(5);
    expect(lateness(busy, 40, learned(), 100)).toBeCloseTo(-10);
  });

  it('allows for runs that take longer than the mean: an input just in time by the mean is late every other time', () => {
    // The batch that runs, the one ahead and its own: three runs.
    expect(lateness(busy, 30, learned(1), 100)).toBeCloseTo(4 * Math.sqrt(3), 0);
  });

  it('OmniRoute#10111: is 0 for inputs that would leave at once into free slots, whatever was learned', () => {
    expect(lateness({ ...idle, ahead: 7 }, 1, learned(), 0)).toBe(0);
    expect(lateness({ ...idle, ahead: 8 }, 1, learned(), 0)).toBeGreaterThan(0);
    const two = { ...idle, concurrency: 3, running: running(0) };
    expect(lateness({ ...two, ahead: 15 }, 1, learned(), 0)).toBe(0);
    expect(lateness({ ...two, ahead: 16 }, 1, learned(), 0)).toBeGreaterThan(0);
  });

  it('OmniRoute#10111: counts for less and less while no batch ends', () => {
    const behind = { ...idle, ahead: 8 };
    expect(lateness(behind, 15, learned(), 0)).toBeGreaterThan(0);
    expect(lateness(behind, 15, learned(), 11_100)).toBeLessThan(0);
  });

  it('is at most 0 for an idle queue, whatever it has learned, and for one that has learned nothing', () => {
    expect(lateness(idle, 1, learned(), 100)).toBe(0);
    expect(lateness(busy, 0, new ServiceTime(), 100)).toBe(0);
  });
});
