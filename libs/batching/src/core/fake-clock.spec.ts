import { setImmediate as pollPhase } from 'node:timers/promises';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { BatchQueue } from './batch-queue.js';
import type { BatchOptions } from './options.js';

function queueOf(options: Partial<BatchOptions> = {}) {
  const batches: number[][] = [];
  const run = (inputs: number[]) => {
    batches.push([...inputs]);
    return inputs;
  };
  const queue = new BatchQueue<number, number>(run, {
    batchSize: 8,
    maxDelay: 5,
    dispatch: 'fixed',
    ...options,
  });
  return { queue, batches };
}

afterEach(() => {
  jest.useRealTimers();
});

describe('jest#12907: a queue lives on', () => {
  it('when the real clock returns while an immediate is pending', async () => {
    for (const lost of [[1], [1, 2, 3]]) {
      jest.useFakeTimers();
      const { queue, batches } = queueOf();
      const first = queue.submitMany(lost);
      jest.useRealTimers();
      expect(await Promise.all([...first, queue.submit(4)])).toEqual([...lost, 4]);
      expect(batches).toEqual([[...lost, 4]]);
    }
  });

  it('when the real clock returns while an alarm is pending', async () => {
    for (const dispatch of ['fixed', 'adaptive'] as const) {
      jest.useFakeTimers();
      const { queue } = queueOf({ dispatch });
      void queue.submitMany([7, 8]);
      await jest.advanceTimersByTimeAsync(10);
      const first = queue.submit(1);
      await jest.advanceTimersByTimeAsync(0);
      jest.useRealTimers();
      expect(await Promise.all([first, queue.submit(2)])).toEqual([1, 2]);
    }
  });

  it('when the real clock returns, by drain and by new settings, too', async () => {
    for (const awake of [
      (queue: BatchQueue<number, number>) => queue.drain(),
      (queue: BatchQueue<number, number>) => queue.stop(),
      (queue: BatchQueue<number, number>) => (queue.maxDelay = 1),
    ]) {
      jest.useFakeTimers();
      const { queue } = queueOf();
      const first = queue.submit(1);
      jest.useRealTimers();
      void awake(queue);
      expect(await first).toBe(1);
    }
  });

  it('when a fake clock comes while an immediate is pending', async () => {
    const { queue, batches } = queueOf();
    const first = queue.submit(1);
    jest.useFakeTimers();
    const second = queue.submit(2);
    await jest.advanceTimersByTimeAsync(6);
    expect(await Promise.all([first, second])).toEqual([1, 2]);
    expect(batches).toEqual([[1, 2]]);
  });

  it('when a fake clock comes while an alarm is pending, and then uses its time', async () => {
    const { queue, batches } = queueOf({ maxDelay: 50 });
    const first = queue.submit(1);
    await pollPhase();
    jest.useFakeTimers();
    const second = queue.submit(2);
    await jest.advanceTimersByTimeAsync(49);
    expect(batches).toEqual([]);
    await jest.advanceTimersByTimeAsync(2);
    expect(await Promise.all([first, second])).toEqual([1, 2]);
    const third = queue.submit(3);
    await jest.advanceTimersByTimeAsync(49);
    expect(batches).toEqual([[1, 2]]);
    await jest.advanceTimersByTimeAsync(2);
    expect(await third).toBe(3);
    jest.useRealTimers();
    expect(await queue.submit(4)).toBe(4);
  });

  it('when one fake clock follows another', async () => {
    jest.useFakeTimers();
    const { queue } = queueOf();
    const first = queue.submit(1);
    await jest.advanceTimersByTimeAsync(1);
    jest.useFakeTimers();
    const second = queue.submit(2);
    await jest.advanceTimersByTimeAsync(6);
    expect(await Promise.all([first, second])).toEqual([1, 2]);
  });

  it('when a fake clock loses its timers: what is overdue is set again', async () => {
    jest.useFakeTimers();
    const { queue } = queueOf();
    const lost = queue.submit(1);
    jest.clearAllTimers();
    jest.advanceTimersByTime(10);
    const found = queue.submit(2);
    await jest.advanceTimersByTimeAsync(6);
    expect(await Promise.all([lost, found])).toEqual([1, 2]);

    const alarmed = queue.submit(3);
    await jest.advanceTimersByTimeAsync(1);
    jest.clearAllTimers();
    jest.advanceTimersByTime(10);
    const last = queue.submitMany([4, 5]);
    // The clock was set back too, so the input waits its full time again.
    await jest.advanceTimersByTimeAsync(6);
    expect(await Promise.all([alarmed, ...last])).toEqual([3, 4, 5]);
  });

  it('when a fake clock loses only the alarm of an input that has gone', async () => {
    jest.useFakeTimers();
    const timers = jest.spyOn(globalThis, 'setTimeout');
    const { queue } = queueOf();
    const caller = new AbortController();
    const gone = queue.submit(1, { signal: caller.signal });
    timers.mockReturnValueOnce({} as never);
    await jest.advanceTimersByTimeAsync(4);
    const first = queue.submit(2);
    await jest.advanceTimersByTimeAsync(2);
    caller.abort(new Error('gone'));
    await expect(gone).rejects.toThrow('gone');
    const second = queue.submit(3);
    await jest.advanceTimersByTimeAsync(4);
    expect(await Promise.all([first, second])).toEqual([2, 3]);
    timers.mockRestore();
  });

  it('when a batch hangs in a timer of a fake clock, by its runTimeout', async () => {
    jest.useFakeTimers();
    const hang = (inputs: number[]) =>
      inputs[0] === 1
        ? new Promise<number[]>((resolve) => globalThis.setTimeout(resolve, 5, inputs))
        : inputs;
    const options = { batchSize: 8, maxDelay: 0, runTimeout: 20 };
    const queue = new BatchQueue<number, number>(hang, options);
    const first = queue.submit(1);
    await jest.advanceTimersByTimeAsync(1);
    jest.useRealTimers();
    const [hung, next] = await Promise.allSettled([first, queue.submit(2)]);
    expect(hung).toMatchObject({ reason: { code: 'ERR_BATCHING_TIMEOUT', phase: 'hanging' } });
    expect(next).toEqual({ status: 'fulfilled', value: 2 });
  });

  it('and clears what is pending with the clock that set it', async () => {
    const { queue } = queueOf({ maxDelay: 60_000 });
    const first = queue.submit(1);
    await pollPhase();
    jest.useFakeTimers();
    const cleared = jest.spyOn(globalThis, 'clearTimeout');
    const drained = queue.drain();
    await jest.advanceTimersByTimeAsync(1);
    await drained;
    expect(await first).toBe(1);
    expect(cleared.mock.calls.flat().filter((timer) => timer && '_idleTimeout' in Object(timer))).toEqual([]);
    cleared.mockRestore();
  });

  it('and its inputs wait for their time on the present clock', async () => {
    const { queue, batches } = queueOf({ maxDelay: 60_000 });
    const first = queue.submit(1);
    await pollPhase();
    jest.useFakeTimers();
    const second = queue.submit(2);
    await jest.advanceTimersByTimeAsync(59_999);
    expect(batches).toEqual([]);
    jest.useRealTimers();
    const others = queue.submitMany([3, 4]);
    await queue.drain();
    expect(await Promise.all([first, second, ...others])).toEqual([1, 2, 3, 4]);
    expect(queue.stats()).toMatchObject({ waiting: 0, running: 0, results: 4 });
  });
});
