import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { BatchQueue } from './batch-queue.js';
import { Lane } from './lane.js';

const advance = (ms: number) => jest.advanceTimersByTimeAsync(ms);
const sleep = (ms: number) => new Promise((resolve) => globalThis.setTimeout(resolve, ms));
const warnings: [string, string | undefined][] = [];

beforeEach(() => {
  jest.useFakeTimers();
  warnings.length = 0;
  jest.spyOn(process, 'emitWarning').mockImplementation((text, type) => {
    warnings.push([String(text), type as string | undefined]);
  });
});

afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

const options = { batchSize: 4, maxDelay: 0 };

describe('a standstill', () => {
  it('p-limit#91: a batch function that awaits its own queue is warned about once, by name', async () => {
    const tree = new BatchQueue<number, number>(
      async (depths) => {
        if (depths[0] === 0) return depths;
        await tree.submit(0);
        return depths;
      },
      { ...options, name: 'Tree.walk' },
    );
    void tree.submit(1);
    await advance(29_900);
    expect(warnings).toEqual([]);
    await advance(200);
    expect(warnings).toEqual([[expect.stringContaining('Tree.walk: 1 inputs wait'), 'BatchingWarning']]);
    expect(warnings[0]?.[0]).toContain('awaits its own queue');
    void tree.submit(2);
    await advance(600_000);
    expect(warnings).toHaveLength(1);
    expect(jest.getTimerCount()).toBe(0);
    // Another slot ends the standstill.
    tree.concurrency = 2;
    await advance(10);
    expect(tree.stats()).toMatchObject({ waiting: 0, running: 0, results: 3 });
  });

  it('p-limit#91: two services on one lane that call each other are warned about', async () => {
    const lane = new Lane();
    const inner = new BatchQueue<number, number>((inputs) => inputs, { ...options, lane, name: 'inner' });
    const outer = new BatchQueue<number, number>((inputs) => Promise.all(inner.submitMany(inputs)), {
      ...options,
      lane,
      name: 'outer',
    });
    void outer.submit(1);
    await advance(30_100);
    expect(warnings.map(([text]) => text.slice(0, 22))).toEqual(['inner: 1 inputs wait, ']);
  });

  it('is not reported while batches start and end, even if they take ten times as long', async () => {
    let ms = 20_000;
    const lane = new Lane();
    const run = async (inputs: number[]) => {
      await sleep(ms);
      return inputs;
    };
    const queues = ['first', 'second'].map((name) => new BatchQueue(run, { ...options, lane, name }));
    const all = queues.flatMap((queue) => queue.submitMany(Array<number>(40).fill(1)));
    await advance(150_000);
    ms = 190_000;
    await advance(20_000 + 190_000);
    expect(queues.map((queue) => queue.stats().waiting)).not.toEqual([0, 0]);
    ms = 1;
    await advance(400_000);
    await Promise.all(all);
    expect(warnings).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('is not reported where inputs wait for more inputs, however long a slot has been free', async () => {
    const lane = new Lane();
    const queue = new BatchQueue<number, number>(
      async (inputs) => {
        await sleep(10);
        return inputs;
      },
      { ...options, dispatch: 'fixed', maxDelay: 100_000, lane },
    );
    const all = queue.submitMany([1, 2, 3, 4, 5]);
    await advance(90_000);
    expect(queue.stats()).toMatchObject({ waiting: 1, settled: 4 });
    await advance(20_000);
    await Promise.all(all);
    expect(warnings).toEqual([]);
  });

  it('has no timer while nothing waits, and one that keeps no process alive', async () => {
    const timers = jest.spyOn(globalThis, 'setTimeout');
    const queue = new BatchQueue<number, number>(() => new Promise(() => undefined), options);
    void queue.submit(1);
    await advance(1);
    expect(timers).not.toHaveBeenCalled();
    const caller = new AbortController();
    const gone = queue.submit(2, { signal: caller.signal });
    await advance(1);
    expect(jest.getTimerCount()).toBe(1);
    expect((timers.mock.results[0]?.value as NodeJS.Timeout).hasRef()).toBe(false);
    caller.abort(new Error('gone'));
    await expect(gone).rejects.toThrow('gone');
    expect(jest.getTimerCount()).toBe(0);
  });
});
