import { afterEach, describe, expect, it } from '@jest/globals';
import { BatchQueue } from '../core/batch-queue.js';
import type { QueueFrame } from './frame.js';
import { QueueRecorder } from './queue-recorder.js';

describe('QueueRecorder', () => {
  /** Ends the batches that run, oldest first. */
  let ends: ((results?: unknown) => void)[] = [];
  let recorder: QueueRecorder | undefined;
  const queueWith = (options = {}) =>
    new BatchQueue<number, unknown>(
      (inputs) =>
        new Promise((resolve) => {
          ends.push((results = inputs) => {
            resolve(results as unknown[]);
          });
        }),
      { batchSize: 2, maxDelay: 0, dispatch: 'eager', concurrency: 2, ...options },
    );
  const record = (queue: BatchQueue<number, unknown>) =>
    (recorder = new QueueRecorder(queue as BatchQueue<unknown, unknown>, 'node', null, performance.now()));
  const frame = (isWhole = false): QueueFrame => {
    if (!recorder) throw new Error('nothing is recorded');
    const now = performance.now();
    recorder.advance(now);
    return recorder.frame(now, isWhole);
  };
  /** Until the batches of what was submitted have left. */
  const turn = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));

  afterEach(() => {
    recorder?.close();
    ends = [];
  });

  it('shows a batch while it runs and once after it has ended, in the same slot and with the same number', async () => {
    const queue = queueWith();
    record(queue);
    const results = queue.submitMany([1, 2]);
    await turn();
    const [started] = frame().started;
    expect(started).toMatchObject([1, 0, expect.any(Number), expect.any(Number), 2, 0]);
    ends.shift()?.([1, new Error('no')]);
    await Promise.allSettled(results);
    await turn();
    const after = frame();
    expect(after.started).toEqual([]);
    expect(after.ended).toMatchObject([
      [1, 0, started?.[2], expect.any(Number), started?.[3], 2, 0, 1, 1, expect.any(Number)],
    ]);
    expect(after.figures).toMatchObject({ batches: 1, inputs: 2, results: 1, errors: 1, aborted: 0 });
    expect(frame().ended).toEqual([]);
    expect(frame(true).ended).toEqual(after.ended);
  });

  it('gives a batch that leaves the lowest slot that is free', async () => {
    const queue = queueWith({ batchSize: 1 });
    record(queue);
    const results = queue.submitMany([1, 2, 3]);
    await turn();
    expect(frame().started.map(([id, slot]) => [id, slot])).toEqual([
      [1, 0],
      [2, 1],
    ]);
    // The second ends first; the third takes its slot.
    ends.splice(1, 1)[0]?.();
    await results[1];
    await turn();
    expect(frame().started.map(([id, slot]) => [id, slot])).toEqual([
      [1, 0],
      [3, 1],
    ]);
    for (const end of ends) end();
    await Promise.all(results);
  });

  it('shows batches that had left before it was watched, with the numbers that their queue gave them', async () => {
    const queue = queueWith();
    const before = queue.submit(0);
    await turn();
    ends.shift()?.();
    await before;
    const result = queue.submit(1);
    await turn();
    record(queue);
    expect(frame().started.map(([number, slot]) => [number, slot])).toEqual([[2, 0]]);
    ends[0]?.();
    await result;
    await turn();
    expect(frame().figures).toMatchObject({ batches: 1, inputs: 1 });
  });

  it("does not take a caller's own abort for an error", async () => {
    const queue = queueWith();
    record(queue);
    const controller = new AbortController();
    const results = [queue.submit(1, { signal: controller.signal }), queue.submit(2)];
    await turn();
    controller.abort();
    await expect(results[0]).rejects.toThrow();
    ends[0]?.();
    await results[1];
    await turn();
    const { figures, ended } = frame();
    expect(figures).toMatchObject({ inputs: 2, results: 1, errors: 0, aborted: 1 });
    expect(ended[0]?.[7]).toBe(0);
  });

  it('counts drops by reason, apart from errors', async () => {
    const queue = queueWith({ maxQueued: 1, concurrency: 1, batchSize: 1 });
    record(queue);
    const results = queue.submitMany([1]);
    await turn();
    const waiting = queue.submit(2);
    const refused = queue.submit(3);
    await expect(refused).rejects.toThrow('full');
    expect(frame()).toMatchObject({
      waiting: 1,
      runningBatches: 1,
      figures: { errors: 0, drops: { full: 1, aborted: 0, timeout: 0, stopped: 0 } },
    });
    ends.shift()?.();
    await results[0];
    await turn();
    ends.shift()?.();
    await waiting;
  });

  it('says whether there is anything new', async () => {
    const queue = queueWith();
    const watching = record(queue);
    expect(watching.advance(performance.now())).toBe(true);
    expect(watching.advance(performance.now())).toBe(false);
    const result = queue.submit(1);
    expect(watching.advance(performance.now())).toBe(true);
    await turn();
    ends[0]?.();
    await result;
    await turn();
    expect(watching.advance(performance.now())).toBe(true);
    queue.maxDelay = 3;
    expect(watching.advance(performance.now())).toBe(true);
    expect(watching.frame(performance.now(), false).figures.isSinceChange).toBe(true);
  });

  it('draws sixteen slots at most, and counts the batches of the others', async () => {
    const queue = queueWith({ batchSize: 1, concurrency: Infinity });
    record(queue);
    const results = queue.submitMany(Array.from({ length: 40 }, (_, index) => index));
    while (ends.length < 40) await turn();
    const running = frame();
    expect(running).toMatchObject({ slots: 16, runningBatches: 40 });
    expect(running.started).toHaveLength(16);
    for (const end of ends) end();
    await Promise.all(results);
    await turn();
    const after = frame();
    expect(after.figures).toMatchObject({ batches: 40, inputs: 40, busy: null });
    expect(after.ended).toHaveLength(16);
  });

  it('stops watching', async () => {
    const queue = queueWith();
    const watching = record(queue);
    watching.close();
    const result = queue.submit(1);
    await turn();
    expect(watching.frame(performance.now(), false).started).toEqual([]);
    ends[0]?.();
    await result;
  });

  it('has a bound in memory at any rate', async () => {
    const queue = new BatchQueue<number, number>((inputs) => inputs, {
      batchSize: 1,
      maxDelay: 0,
      dispatch: 'eager',
      concurrency: 4,
    });
    record(queue);
    for (let round = 0; round < 200; round++) {
      await Promise.all(queue.submitMany(Array.from({ length: 50 }, (_, index) => index)));
      frame();
    }
    const { ended, figures } = frame(true);
    expect(ended.length).toBeLessThanOrEqual(1064);
    expect(figures.batches).toBe(10_000);
    expect(JSON.stringify(ended).length).toBeLessThan(80_000);
  }, 30_000);
});
