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
