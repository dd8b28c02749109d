import { describe, expect, it } from '@jest/globals';
import { ServiceTime } from './service-time.js';

/** Records runs one after the other, of the given times in ms, for batches of one size. */
function after(...runs: number[]): { serviceTime: ServiceTime; run: (ran: number, size?: number) => void } {
  const serviceTime = new ServiceTime();
  let now = 0;
  const run = (ran: number, size = 8) => {
    now += ran;
    serviceTime.record(size, ran, now);
  };
  for (const ran of runs) run(ran);
  return { serviceTime, run };
}

const usual = Array.from({ length: 20 }, () => 30);

describe('ServiceTime', () => {
  it('OmniRoute#10111: one stall counts for little, however long it was', () => {
    for (const stall of [3000, 10_000, 3_600_000]) {
      const { serviceTime, run } = after(...usual, stall);
      expect(serviceTime.of(8)).toBeLessThan(40);
      expect(serviceTime.deviation).toBeLessThan(10);
      run(30);
      expect(serviceTime.of(8)).toBeLessThan(40);
    }
  });

  it('OmniRoute#10111: batches that hung at the same time are one stall', () => {
    const { serviceTime } = after(...usual);
    for (let slot = 0; slot < 8; slot++) serviceTime.record(8, 3000, 3600 + slot);
    expect(serviceTime.of(8)).toBeLessThan(40);
    // A run that the stall did not affect counts as usual.
    serviceTime.record(8, 30, 3700);
    serviceTime.record(8, 3000, 9000);
    expect(serviceTime.of(8)).toBeLessThan(50);
  });

  it('OmniRoute#10111: a stall at the very beginning is forgotten with the next run', () => {
    const { serviceTime, run } = after(3000);
    expect(serviceTime.of(8)).toBe(3000);
    run(30);
    expect(serviceTime.of(8)).toBe(30);
    expect(serviceTime.deviation).toBe(0);
  });

  it('accepts a changed load with its second run, whether slower or faster', () => {
    const { serviceTime, run } = after(...usual, 3000, 3000);
    expect(serviceTime.of(8)).toBe(3000);
    for (const ran of usual) run(100 * ran);
    run(30);
    run(30);
    expect(serviceTime.of(8)).toBe(30);
  });

  it('learns from runs that always vary widely without clipping them', () => {
    const runs = Array.from({ length: 400 }, (_, index) => [20, 40, 400][index % 3] ?? 0);
    const { serviceTime } = after(...runs);
    expect(serviceTime.of(8)).toBeGreaterThan(120);
    expect(serviceTime.of(8)).toBeLessThan(190);
  });

  it('lets a larger batch take longer in proportion, though none was seen before', () => {
    const { serviceTime, run } = after(5, 5, 5, 5);
    run(40 * 5, 8 * 40);
    expect(serviceTime.of(8 * 40)).toBeCloseTo(200, -1);
  });

  it('trusts what it has learned less while no batch ends', () => {
    const { serviceTime } = after(...usual);
    expect(serviceTime.trust(600)).toBe(1);
    expect(serviceTime.trust(1600)).toBe(1);
    expect(serviceTime.trust(11_600)).toBe(0.5);
    expect(serviceTime.trust(200_000)).toBeLessThan(0.001);
    const slow = after(60_000).serviceTime;
    expect(slow.trust(180_000)).toBe(1);
    expect(slow.trust(240_000)).toBeGreaterThan(0.9);
  });

  it('learns nothing from a run that ended before it began, as under a clock that was replaced', () => {
    const { serviceTime } = after(...usual, -5000);
    expect(serviceTime.of(8)).toBe(30);
  });
});
