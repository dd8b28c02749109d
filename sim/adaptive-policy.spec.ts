import { describe, expect, it } from '@jest/globals';
import { AdaptivePolicy } from '../libs/batching/src/core/dispatch/adaptive-policy.js';
import { eager, fixed } from '../libs/batching/src/core/dispatch/dispatch-policy.js';
import { simulateQueues } from './queue-simulator.js';
import { bursts, closedLoop, type Load, poisson, simulate, type SimulatedPolicy } from './simulator.js';

const curve = { alpha: 0.25, beta: 5, batchSize: 32 };

/** What the policy achieves under a load in the simulator; seeded, so always the same. */
function measure(policy: SimulatedPolicy, load: Load, maxDelay = 30, served = curve) {
  const [measured] = simulate(policy, { curve: served, maxDelay, loads: [load], items: 20_000, seed: 7 });
  return measured ?? { mean: NaN, p99: NaN, throughput: NaN };
}

describe('AdaptivePolicy, simulated', () => {
  it.each([0.02, 0.1, 0.3, 0.6, 0.9])('costs steady arrivals at a load of %d next to nothing', (rho) => {
    const load = poisson(rho, curve);

    expect(measure(new AdaptivePolicy(), load).mean).toBeLessThan(1.02 * measure(eager, load).mean);
  });

  it('waits within a burst, about as the best fixed wait does', () => {
    const load = bursts(0.02, curve);

    expect(measure(new AdaptivePolicy(), load).mean).toBeLessThan(0.85 * measure(eager, load).mean);
    expect(measure(new AdaptivePolicy(), load).mean).toBeLessThan(1.03 * measure(fixed, load, 2).mean);
  });

  it.each([4, 8, 16, 32, 48])('waits for all %d callers that a batch has answered', (callers) => {
    const load = closedLoop(callers);

    expect(measure(new AdaptivePolicy(), load).throughput).toBeGreaterThan(
      1.1 * measure(eager, load).throughput,
    );
  });

  it.each([2, 8, 16, 32])('waits for %d callers that pause before they submit again', (callers) => {
    // Answered together, they come back together; the first of them after a long pause, the others close
    // behind.
    const load = closedLoop(callers, 0.5, 1);
    const { throughput } = measure(new AdaptivePolicy(), load);

    expect(throughput).toBeGreaterThan(1.2 * measure(eager, load).throughput);
    expect(throughput).toBeGreaterThan(0.995 * measure(fixed, load, 2).throughput);
  });

  it('soon stops waiting for many callers that have gone', () => {
    const policy = new AdaptivePolicy();
    const crowd = { ...closedLoop(16, 0.5, 1), name: 'crowd' };
    const few = poisson(0.1, curve);
    const scene = { curve, maxDelay: 30, turn: 1000, items: 20_000, seed: 7 };
    const mean = (one: SimulatedPolicy) => simulate(one, { ...scene, loads: [crowd, few] })[1]?.mean ?? NaN;

    expect(mean(policy)).toBeLessThan(1.03 * mean(eager));
  });

  it('waits for the last few of many callers, so that no second batch is left to wait for', () => {
    const v100 = { alpha: 0.1438, beta: 1.8874, batchSize: 64 };
    const load = closedLoop(48);
    const { throughput } = measure(new AdaptivePolicy(), load, 30, v100);

    expect(throughput).toBeGreaterThan(1.15 * measure(eager, load, 30, v100).throughput);
  });

  it('waits for all callers that fill a batch, although it has seen shorter gaps only', () => {
    const v100 = { alpha: 0.1438, beta: 1.8874, batchSize: 64 };
    const load = closedLoop(64);
    const { throughput } = measure(new AdaptivePolicy(), load, 30, v100);

    expect(throughput).toBeGreaterThan(0.975 * measure(fixed, load, 0.3, v100).throughput);
  });

  it('splits a burst in two where large batches are slow', () => {
    const p4 = { alpha: 0.5833, beta: 1.4284, batchSize: 32 };
    const load = bursts(0.02, p4);
    const { mean } = measure(new AdaptivePolicy(), load, 30, p4);

    expect(mean).toBeLessThan(0.9 * measure(eager, load, 30, p4).mean);
  });

  it.each([
    ['two slots', { slots: 2 }, 0.6],
    ['two queues that share two slots', { slots: 2, queues: 2 }, 1.8],
    ['eight groups', { groups: 8 }, 0.1],
  ])('costs steady arrivals next to nothing with %s, in real queues', async (_name, setup, rho) => {
    const scene = { curve, load: poisson(rho, curve), maxDelay: 30, items: 8000, seed: 7, ...setup };
    const lazy = await simulateQueues({ ...scene, dispatch: 'eager' });
    const { mean } = await simulateQueues({ ...scene, dispatch: 'adaptive' });

    expect(mean).toBeLessThan(1.02 * lazy.mean);
  });

  describe('where the batch function blocks the event loop', () => {
    const scene = { curve, maxDelay: 30, items: 20_000, seed: 7, blocking: true };
    const mean = (policy: SimulatedPolicy, load: Load, maxDelay = 30) =>
      simulate(policy, { ...scene, maxDelay, loads: [load] })[0]?.mean ?? NaN;

    it.each([2, 4, 8, 16, 32])('waits for all %d callers, though it cannot see them come', (callers) => {
      const load = closedLoop(callers);
      const ours = mean(new AdaptivePolicy(), load);

      expect(ours).toBeLessThan(0.85 * mean(eager, load));
      expect(ours).toBeLessThan(1.02 * Math.min(...[1, 2, 3].map((wait) => mean(fixed, load, wait))));
    });

    it.each([0.02, 0.3, 0.6, 0.9])('costs steady arrivals at a load of %d next to nothing', (rho) => {
      const load = poisson(rho, curve);

      expect(mean(new AdaptivePolicy(), load)).toBeLessThan(1.02 * mean(eager, load));
    });

    it.each([
      ['independent callers', poisson(0.3, curve)],
      ['bursts, of which full batches wait', bursts(0.6, curve)],
      ['callers in a loop', closedLoop(16)],
    ])('does so in a real queue: %s', async (_name, load) => {
      const real = await simulateQueues({ ...scene, items: 5000, load, dispatch: 'adaptive' });
      const modelled =
        simulate(new AdaptivePolicy(), { ...scene, items: 5000, loads: [load] })[0]?.mean ?? NaN;

      expect(Math.abs(real.mean / modelled - 1)).toBeLessThan(0.002);
    });
  });
});
