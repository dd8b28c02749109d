import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { BatchQueue } from 'nest-batching';
import { Journeys } from './journeys.js';

describe('Journeys', () => {
  let journeys: Journeys;
  let queue: BatchQueue<number, { value: number }>;

  beforeEach(() => {
    journeys = new Journeys();
    journeys.onModuleInit();
    queue = new BatchQueue((inputs: number[]) => inputs.map((value) => ({ value })), {
      batchSize: 2,
      maxDelay: 60_000,
      dispatch: 'fixed',
    });
  });
  afterEach(async () => {
    journeys.onApplicationShutdown();
    await queue.stop();
  });

  it('tells of an input its own wait and place, also beside inputs of which nobody asks', async () => {
    const first = queue.submit(1);
    await sleep(30);
    const start = performance.now();
    const [second] = await journeys.follow(() => [queue.submit(2)]);
    const took = performance.now() - start;
    expect(second).toMatchObject({ value: 2, journey: { size: 2, place: 1, reason: 'size' } });
    expect(second?.journey.waited).toBeLessThanOrEqual(took);
    expect(await first).toEqual({ value: 1 });
  });

  it('tells of an input whose batch is run again in parts before that has ended', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const isolating = new BatchQueue<number, { value: number }>(
      async (inputs) => {
        if (inputs.includes(3) && inputs.length > 1) throw new Error('poison');
        if (inputs.includes(3)) await held;
        return inputs.map((value) => ({ value }));
      },
      { batchSize: 4, maxDelay: 60_000, dispatch: 'fixed', isolateErrors: true },
    );
    const [first] = await journeys.follow(() => {
      const [one, ...others] = isolating.submitMany([0, 1, 2, 3]);
      void Promise.allSettled(others);
      return one ? [one] : [];
    });
    expect(first).toMatchObject({ value: 0, journey: { batch: 1, size: 4, place: 0, reason: 'size' } });
    expect(first?.journey.ran).toBeGreaterThan(0);
    release();
    await isolating.stop();
  });

  it('follows nothing more once it is called back', async () => {
    await expect(
      journeys.follow(() => {
        throw new Error('refused');
      }),
    ).rejects.toThrow('refused');
    const [one] = await journeys.follow(() => queue.submitMany([1, 2]));
    expect(one?.journey).toMatchObject({ batch: 1, place: 0 });
    journeys.onApplicationShutdown();
    await expect(journeys.follow(() => queue.submitMany([3, 4]))).rejects.toThrow('input 0 has no journey');
  });
});
