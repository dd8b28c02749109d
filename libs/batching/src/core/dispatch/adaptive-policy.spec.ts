import { describe, expect, it } from '@jest/globals';
import { AdaptivePolicy } from './adaptive-policy.js';
import type { DispatchPolicy, Plan, QueueSnapshot } from './dispatch-policy.js';

const curve = { alpha: 0.25, beta: 5, batchSize: 32 };

/** The plan of the policy, after the calls that the queue makes. */
function planOf(policy: DispatchPolicy, now: number, view: Partial<QueueSnapshot> = {}): Plan {
  const serviceTime = (size: number) => curve.alpha * size + curve.beta;
  const queue = {
    batchSize: 32,
    maxDelay: 30,
    waiting: 1,
    others: 0,
    oldest: now,
    serviceTime,
    untilOtherSlot: Infinity,
    ...view,
  };
  policy.opened?.(queue, now);
  return policy.plan(queue, now);
}

/** How long the policy would wait, in milliseconds. */
function patience(policy: DispatchPolicy, now: number, view: Partial<QueueSnapshot> = {}): number {
  return planOf(policy, now, view).at - now;
}

/**
 * Shows the policy a burst: one input every 0.1 ms, of which the first leaves alone and the others come while
 * it runs.
 */
function showBurst(policy: DispatchPolicy, start: number, size = 16): void {
  policy.arrived?.(1, 1, true, start, start);
  patience(policy, start);
  policy.left?.(1, start);
  for (let index = 1; index < size; index++)
    policy.arrived?.(1, index, false, start + 0.1 * index, start + 0.1 * index);
  policy.ended?.(start + 5.25, 1);
  patience(policy, start + 5.25, { waiting: size - 1 });
  policy.left?.(size - 1, start + 5.25);
  policy.ended?.(start + 14, size - 1);
}

describe('AdaptivePolicy', () => {
  it('does not wait while it has learned nothing', () => {
    const policy = new AdaptivePolicy();
    policy.arrived(1, 1, true, 0);

    expect(planOf(policy, 0)).toEqual({ at: 0, reason: 'idle' });
  });

  it('never lets a lone caller in a loop wait', () => {
    const waits: number[] = [];
    const policy = new AdaptivePolicy();
    for (let now = 0; now < 1000; now += 5.4) {
      policy.arrived(1, 1, true, now);
      waits.push(patience(policy, now));
      policy.left();
      policy.ended(now + 5.25);
    }

    expect(Math.max(...waits)).toBe(0);
  });

  it('waits at the end of a batch for a burst that is under way, not for one that is over', () => {
    const policy = new AdaptivePolicy();
    const waitAfter = (start: number, isUnderWay: boolean) => {
      policy.arrived(1, 1, true, start);
      patience(policy, start);
      policy.left();
      const from = start + (isUnderWay ? 4.75 : 0.1);
      for (let came = 1; came <= 5; came++) policy.arrived(1, came, false, from + 0.08 * came);
      policy.ended(start + 5.25);
      const wait = patience(policy, start + 5.25, { waiting: 5 });
      policy.left();
      if (isUnderWay)
        for (let came = 1; came <= 10; came++) policy.arrived(1, came, false, start + 5.25 + 0.08 * came);
      policy.ended(start + 11.5);
      return wait;
    };
    const waits = Array.from({ length: 40 }, (_, index) => waitAfter(1000 * index, index % 2 === 0));

    expect(waits[38]).toBeGreaterThan(0);
    expect(waits[39]).toBe(0);
  });

  it('waits no longer for the last of a burst than it has seen gaps last', () => {
    const policy = new AdaptivePolicy();
    for (let burst = 0; burst < 10; burst++) showBurst(policy, 1000 * burst);
    policy.arrived(1, 1, true, 20_000);

    expect(patience(policy, 20_000)).toBeGreaterThanOrEqual(0.1);
    expect(patience(policy, 20_000)).toBeLessThan(0.4);
  });

  it('leaves for its own reason, or because of `maxDelay` where that is shorter', () => {
    const policy = new AdaptivePolicy();
    for (let burst = 0; burst < 10; burst++) showBurst(policy, 1000 * burst);
    policy.arrived(1, 1, true, 20_000);

    expect(patience(policy, 20_000, { maxDelay: 0.05 })).toBeCloseTo(0.05);
    expect(planOf(policy, 20_000, { maxDelay: 0.05 }).reason).toBe('delay');
    expect(patience(policy, 20_000, { maxDelay: 30 })).toBeGreaterThan(0.05);
    expect(planOf(policy, 20_000, { maxDelay: 30 }).reason).toBe('idle');
  });

  it('stops waiting after a few wasted waits when bursts are over', () => {
    const policy = new AdaptivePolicy();
    for (let burst = 0; burst < 20; burst++) showBurst(policy, 1000 * burst);
    const waits = Array.from({ length: 12 }, (_, index) => {
      const now = 30_000 + 100 * index;
      policy.arrived(1, 1, true, now);
      const wait = patience(policy, now);
      policy.left();
      policy.ended(now + wait + 5.25);
      return wait;
    });

    expect(waits[0]).toBeGreaterThan(0);
    expect(waits.slice(8)).toEqual([0, 0, 0, 0]);
  });

  it('begins to wait after a few bursts when a lone caller becomes a crowd', () => {
    const policy = new AdaptivePolicy();
    for (let now = 0; now < 1000; now += 5.4) {
      policy.arrived(1, 1, true, now);
      policy.left();
      policy.ended(now + 5.25);
    }
    for (let burst = 0; burst < 6; burst++) showBurst(policy, 2000 + 1000 * burst);
    policy.arrived(1, 1, true, 20_000);

    expect(patience(policy, 20_000)).toBeGreaterThan(0);
  });

  it('does not wait for inputs that hardly ever may share the batch', () => {
    const policy = new AdaptivePolicy();
    for (let burst = 0; burst < 10; burst++) showBurst(policy, 1000 * burst);
    policy.arrived(1, 1, true, 20_000);
    expect(patience(policy, 20_000)).toBeGreaterThan(0);
    for (let look = 0; look < 30; look++) patience(policy, 20_000, { waiting: 1, others: 30 });

    expect(patience(policy, 20_000)).toBe(0);
  });

  it('works with a service time of which only the mean is known', () => {
    const policy = new AdaptivePolicy();
    for (let burst = 0; burst < 10; burst++) showBurst(policy, 1000 * burst);
    policy.arrived(1, 1, true, 20_000);

    expect(patience(policy, 20_000, { serviceTime: () => 5 })).toBeGreaterThan(0);
    expect(patience(policy, 20_000, { serviceTime: () => 0 })).toBe(0);
  });

  it('does not wait where a larger batch costs as much as it saves', () => {
    const policy = new AdaptivePolicy();
    for (let burst = 0; burst < 10; burst++) showBurst(policy, 1000 * burst);
    policy.arrived(1, 1, true, 20_000);

    expect(patience(policy, 20_000, { serviceTime: (size) => 0.08 * size })).toBe(0);
  });

  it('distinguishes batches of thousands by powers of two', () => {
    const policy = new AdaptivePolicy();
    for (let now = 0; now < 1000; now += 10) {
      policy.arrived(5000, 5000, true, now);

      expect(patience(policy, now, { batchSize: Infinity, waiting: 5000 })).toBe(0);
      policy.left();
      policy.ended(now + 8);
    }
  });

  it('returns the same plan twice, and learns nothing from being asked', () => {
    const [asked, other] = [new AdaptivePolicy(), new AdaptivePolicy()];
    for (const policy of [asked, other]) {
      for (let burst = 0; burst < 10; burst++) showBurst(policy, 1000 * burst);
      policy.arrived(1, 1, true, 20_000);
    }
    const view = {
      batchSize: 32,
      maxDelay: 30,
      waiting: 1,
      others: 9,
      oldest: 20_000,
      untilOtherSlot: Infinity,
    };
    const queue = { ...view, serviceTime: (size: number) => curve.alpha * size + curve.beta };
    for (const policy of [asked, other]) policy.opened(queue);
    for (let look = 0; look < 30; look++) asked.plan({ ...queue, waiting: 5, others: 30 }, 20_000);

    expect(asked.plan(queue, 20_000)).toEqual(other.plan(queue, 20_000));
    expect(patience(asked, 20_000)).toBe(patience(other, 20_000));
  });
});
