import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { BatchQueue } from './batch-queue.js';
import type { KeyedBatchFunction } from './batch-function.js';
import { BatchTimeoutError, DeadlineError, QueueFullError, ServiceStoppedError } from './errors.js';
import type { BatchOptions } from './options.js';
import type { BatchReport } from './stats.js';

interface Input {
  readonly key: string;
  /** Tells which of several inputs of a key it is. */
  readonly no: number;
}

interface Result {
  readonly of: Input;
}

const input = (key: string, no = 1): Input => ({ key, no });

/** A queue that coalesces, writes down its batches, as `a1 b1`, and runs each for `runTime`. */
function coalescing(options: Partial<BatchOptions<Input>> = {}, runTime = 10) {
  const batches: string[] = [];
  const run: KeyedBatchFunction<Input, Result> = async (inputs) => {
    batches.push(inputs.map(({ key, no }) => `${key}${no}`).join(' '));
    await new Promise((resolve) => setTimeout(resolve, runTime));
    return inputs.map((of) => ({ of }));
  };
  return { batches, queue: queueOf(run, options) };
}

function queueOf(run: KeyedBatchFunction<Input, Result>, options: Partial<BatchOptions<Input>> = {}) {
  return new BatchQueue<Input, Result>(run, {
    name: 'users',
    batchSize: 4,
    maxDelay: 5,
    dispatch: 'fixed',
    keyBy: ({ key }: Input) => key,
    coalesce: true,
    ...options,
    missing: 'reject',
  });
}

const advance = (ms: number) => jest.advanceTimersByTimeAsync(ms);

async function outcomes(promises: Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((one): unknown => (one.status === 'fulfilled' ? one.value : one.reason));
}

/** Handles it from the beginning, as it may reject before the test looks. */
function kept<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

beforeEach(() => {
  jest.useFakeTimers();
});

afterEach(() => {
  jest.useRealTimers();
});

describe('inputs of one key', () => {
  it('that wait are one input, whose callers share one result', async () => {
    const { queue, batches } = coalescing();
    const results = [queue.submit(input('a')), queue.submit(input('b')), queue.submit(input('a', 2))];
    expect(queue.stats()).toMatchObject({ submitted: 3, coalesced: 1, waiting: 3, running: 0 });
    await advance(30);
    const [first, other, joined] = await Promise.all(results);
    expect(batches).toEqual(['a1 b1']);
    expect(first).toEqual({ of: input('a') });
    expect(joined).toBe(first);
    expect(other).not.toBe(first);
    expect(queue.stats()).toMatchObject({ submitted: 3, settled: 3, results: 3, batches: 1 });
  });

  it('are the one that runs, and count as running', async () => {
    const { queue, batches } = coalescing();
    const first = queue.submit(input('a'));
    await advance(8);
    expect(batches).toEqual(['a1']);
    const joined = queue.submit(input('a', 2));
    expect(queue.stats()).toMatchObject({ submitted: 2, waiting: 0, running: 2, runningBatches: 1 });
    await advance(10);
    expect(await joined).toBe(await first);
    expect(batches).toEqual(['a1']);
  });

  it('run anew once it has ended: nothing is cached', async () => {
    const { queue, batches } = coalescing();
    const first = queue.submit(input('a'));
    await advance(20);
    const later = queue.submit(input('a', 2));
    await advance(20);
    expect(await later).not.toBe(await first);
    expect(batches).toEqual(['a1', 'a2']);
  });

  it('run anew after an error, which all callers of the failed one get', async () => {
    const error = new Error('down');
    let isDown = true;
    const queue = queueOf((inputs) => {
      if (isDown) throw error;
      return inputs.map((of) => ({ of }));
    });
    const failed = kept(Promise.allSettled([queue.submit(input('a')), queue.submit(input('a', 2))]));
    await advance(10);
    expect(await failed).toEqual([
      { status: 'rejected', reason: error },
      { status: 'rejected', reason: error },
    ]);
    expect(queue.stats()).toMatchObject({ submitted: 2, errors: 2, results: 0 });
    isDown = false;
    const later = queue.submit(input('a', 3));
    await advance(10);
    expect(await later).toEqual({ of: input('a', 3) });
  });

  it('may be answered by a Map', async () => {
    const queue = queueOf((inputs) => new Map(inputs.map((of) => [of.key, { of }])));
    const results = queue.submitMany([input('a'), input('b'), input('a', 2)]);
    await advance(10);
    expect(await outcomes(results)).toEqual([{ of: input('a') }, { of: input('b') }, { of: input('a') }]);
  });

  it('have the context of their own caller after the result', async () => {
    const storage = new AsyncLocalStorage<string>();
    const { queue } = coalescing();
    const seen = ['one', 'two'].map((name) =>
      storage.run(name, async () => {
        await queue.submit(input('a'));
        return storage.getStore();
      }),
    );
    await advance(20);
    expect(await Promise.all(seen)).toEqual(['one', 'two']);
  });

  it('are one, too, when the keyBy of the second, or its cost, submits the first', async () => {
    let nested: Promise<Result> | undefined;
    const { queue, batches } = coalescing({
      cost: ({ no }: Input) => {
        if (no === 1) nested = queue.submit(input('a', 2));
        return 1;
      },
    });
    const outer = queue.submit(input('a'));
    await advance(20);
    expect(await outer).toBe(await nested);
    expect(batches).toEqual(['a2']);
    expect(queue.stats()).toMatchObject({ submitted: 2, coalesced: 1, results: 2 });
  });
});

describe('a caller that gives up', () => {
  it('leaves the waiting input to the others, also when it was the first', async () => {
    const { queue, batches } = coalescing();
    const caller = new AbortController();
    const first = kept(queue.submit(input('a'), { signal: caller.signal }));
    const joined = queue.submit(input('a', 2));
    caller.abort(new Error('gone'));
    await expect(first).rejects.toThrow('gone');
    expect(queue.stats()).toMatchObject({ submitted: 2, dropped: 1, drops: { aborted: 1 }, waiting: 1 });
    await advance(20);
    expect(await joined).toEqual({ of: input('a') });
    expect(batches).toEqual(['a1']);
  });

  it('takes the waiting input along when it was the last', async () => {
    const { queue, batches } = coalescing();
    const callers = [1, 2, 3].map(() => new AbortController());
    const results = callers.map(({ signal }, no) => kept(queue.submit(input('a', no), { signal })));
    // From the middle, the front and the end of the line of callers.
    for (const index of [1, 0, 2]) callers[index]?.abort(new Error(`gone ${index}`));
    expect((await outcomes(results)).map(String)).toEqual([
      'Error: gone 0',
      'Error: gone 1',
      'Error: gone 2',
    ]);
    expect(queue.stats()).toMatchObject({ submitted: 3, dropped: 3, waiting: 0 });
    const later = queue.submit(input('a', 9));
    await advance(20);
    expect(await later).toEqual({ of: input('a', 9) });
    expect(batches).toEqual(['a9']);
  });

  it('leaves the running input to the others; the last aborts the batch', async () => {
    let signal: AbortSignal | undefined;
    const queue = queueOf(async (inputs, batch) => {
      ({ signal } = batch);
      await new Promise((resolve) => setTimeout(resolve, 50));
      return inputs.map((of) => ({ of }));
    });
    const callers = [new AbortController(), new AbortController()];
    const results = callers.map((caller) => kept(queue.submit(input('a'), { signal: caller.signal })));
    await advance(8);
    callers[0]?.abort(new Error('gone 0'));
    expect(queue.stats()).toMatchObject({ running: 1, errors: 1 });
    expect(signal?.aborted).toBe(false);
    callers[1]?.abort(new Error('gone 1'));
    expect(signal?.aborted).toBe(true);
    expect((await outcomes(results)).map(String)).toEqual(['Error: gone 0', 'Error: gone 1']);
    // The next of this key is another input, though the function still runs.
    const later = queue.submit(input('a', 2));
    expect(queue.stats()).toMatchObject({ running: 0, waiting: 1 });
    await advance(200);
    expect(await later).toEqual({ of: input('a', 2) });
  });

  it('by its own timeout, says where the input was', async () => {
    const { queue } = coalescing({}, 100);
    const short = kept(queue.submit(input('a'), { timeout: 3 }));
    const longer = kept(queue.submit(input('a', 2), { timeout: 20 }));
    const patient = queue.submit(input('a', 3));
    await advance(200);
    await expect(short).rejects.toMatchObject({ phase: 'waiting', timeout: 3 });
    await expect(longer).rejects.toMatchObject({ phase: 'running', timeout: 20 });
    expect(await longer.catch((error: unknown) => error)).toBeInstanceOf(BatchTimeoutError);
    expect(await patient).toEqual({ of: input('a') });
    expect(queue.stats()).toMatchObject({ drops: { timeout: 1 }, errors: 1, results: 1 });
    expect(jest.getTimerCount()).toBe(0);
  });

  it('while the others are being served is served as well', async () => {
    const { queue } = coalescing();
    const last = new AbortController();
    // A signal of a polyfill, whose removeEventListener runs code of the application.
    const odd = Object.assign(new EventTarget(), { aborted: false });
    odd.removeEventListener = () => {
      last.abort(new Error('late'));
    };
    const results = [
      queue.submit(input('a'), { signal: odd as unknown as AbortSignal }),
      queue.submit(input('a', 2), { signal: last.signal }),
      queue.submit(input('a', 3)),
    ];
    await advance(20);
    expect(await outcomes(results)).toEqual(Array(3).fill({ of: input('a') }));
    expect(queue.stats()).toMatchObject({ submitted: 3, results: 3, errors: 0, dropped: 0 });
  });
});

describe('a shared input', () => {
  it('takes no more room than one, and joining is never refused for room', async () => {
    const { queue } = coalescing({ maxQueued: 1, autoStart: false });
    const results = [queue.submit(input('a')), queue.submit(input('a', 2))];
    await expect(queue.submit(input('b'))).rejects.toThrow(QueueFullError);
    expect(queue.stats()).toMatchObject({ submitted: 3, coalesced: 1, waiting: 2, drops: { full: 1 } });
    queue.start();
    await advance(20);
    expect(await outcomes(results)).toHaveLength(2);
  });

  it('may stand at the door, where its callers are blocked', async () => {
    const { queue, batches } = coalescing({ maxQueued: 1, onFull: 'wait', autoStart: false });
    const caller = new AbortController();
    void queue.submit(input('a'));
    const results = [
      kept(queue.submit(input('b'), { signal: caller.signal })),
      queue.submit(input('b', 2)),
      kept(queue.submit(input('b', 3), { timeout: 1 })),
      queue.submit(input('b', 4), { priority: 2 }),
    ];
    expect(queue.stats()).toMatchObject({ submitted: 1, waiting: 1, blocked: 4, coalesced: 0 });
    caller.abort(new Error('gone'));
    await advance(2);
    expect(queue.stats()).toMatchObject({ submitted: 3, dropped: 2, waiting: 1, blocked: 2, coalesced: 2 });
    queue.start();
    await advance(40);
    expect((await outcomes(results)).map((one) => (one instanceof Error ? one.name : one))).toEqual([
      'Error',
      { of: input('b') },
      'BatchTimeoutError',
      { of: input('b') },
    ]);
    expect(batches).toEqual(['a1', 'b1']);
    expect(queue.stats()).toMatchObject({ submitted: 5, settled: 3, dropped: 2, blocked: 0, coalesced: 3 });
  });

  it('has the highest priority of its callers, at its own place among those of that priority', async () => {
    const { queue, batches } = coalescing({ batchSize: 1, autoStart: false }, 1);
    const submit = (key: string, priority?: number) => {
      void queue.submit(input(key), { priority });
    };
    submit('plain');
    await advance(1);
    submit('first', 1);
    await advance(1);
    submit('a', -1);
    submit('low', -1);
    await advance(1);
    submit('later');
    submit('second', 1);
    // Raised twice: among the plain inputs, then between those of priority 1. A lower priority changes
    // nothing.
    submit('a', 0);
    submit('a', 1);
    submit('a', -5);
    const stopped = queue.stop();
    await advance(100);
    await stopped;
    expect(batches).toEqual(['first1', 'a1', 'second1', 'plain1', 'later1', 'low1']);
  });

  it('is a full batch with others, however many callers they have', async () => {
    const { queue, batches } = coalescing({ batchSize: 2 });
    for (let no = 1; no <= 9; no++) void queue.submit(input('a', no));
    await advance(1);
    expect(batches).toEqual([]);
    void queue.submit(input('b'));
    await advance(1);
    expect(batches).toEqual(['a1 b1']);
    await advance(20);
  });

  it('waits no longer than maxDelay from its first caller on', async () => {
    const { queue, batches } = coalescing();
    void queue.submit(input('a'));
    await advance(3);
    void queue.submit(input('a', 2), { priority: 1 });
    await advance(3);
    expect(batches).toEqual(['a1']);
    await advance(20);
  });

  it('has cost, group and tenant of its first caller, and costs once', async () => {
    const cost = jest.fn(({ no }: Input) => no);
    const groupBy = jest.fn(({ no }: Input) => no);
    const { queue } = coalescing({ cost, groupBy, maxCost: 5, maxQueuedCost: 5, autoStart: false });
    const results = [queue.submit(input('a', 5)), queue.submit(input('a', 4)), queue.submit(input('a', 6))];
    expect(cost.mock.calls).toEqual([[input('a', 5)]]);
    expect(groupBy.mock.calls).toEqual([[input('a', 5)]]);
    queue.start();
    await advance(20);
    expect(await outcomes(results)).toEqual(Array(3).fill({ of: input('a', 5) }));
  });

  it('takes a caller whose timeout another input could not meet', async () => {
    const { queue } = coalescing({ batchSize: 1, maxDelay: 0 }, 100);
    const learnt = queue.submit(input('x'));
    await advance(110);
    await learnt;
    const first = queue.submit(input('a'));
    await advance(90);
    const joined = queue.submit(input('a', 2), { timeout: 30 });
    await expect(queue.submit(input('b'), { timeout: 30 })).rejects.toThrow(DeadlineError);
    await advance(50);
    expect(await joined).toBe(await first);
  });

  it('is run again by isolateErrors for all its callers, and takes more meanwhile', async () => {
    const poison = new Error('poison');
    const batches: string[] = [];
    const queue = queueOf(
      async (inputs) => {
        batches.push(inputs.map(({ key }) => key).join(' '));
        await new Promise((resolve) => setTimeout(resolve, 10));
        if (inputs.some(({ key }) => key === 'poison')) throw poison;
        return new Map(inputs.map((of) => [of.key, { of }]));
      },
      { isolateErrors: true },
    );
    const caller = new AbortController();
    const results = [
      kept(queue.submit(input('a'), { signal: caller.signal })),
      kept(queue.submit(input('poison'))),
      queue.submit(input('a', 2)),
    ];
    await advance(20);
    expect(batches).toEqual(['a poison', 'a']);
    caller.abort(new Error('gone'));
    results.push(queue.submit(input('a', 3)));
    await advance(60);
    const shared = { of: input('a') };
    expect(await outcomes(results)).toEqual([new Error('gone'), poison, shared, shared]);
    expect(batches).toEqual(['a poison', 'a', 'poison']);
    expect(queue.stats()).toMatchObject({ submitted: 4, results: 2, errors: 2 });
  });

  it('is one input in sizes, times and reports', async () => {
    const { queue } = coalescing();
    const reports: BatchReport[] = [];
    queue.onBatch((report) => reports.push(report));
    for (let no = 1; no <= 3; no++) void queue.submit(input('a', no));
    await advance(20);
    expect(reports).toMatchObject([{ size: 1, results: 1, errors: 0 }]);
    expect(queue.stats()).toMatchObject({
      results: 3,
      batchSizes: { count: 1, max: 1 },
      waitTime: { count: 1 },
    });
  });
});

describe('drain and stop', () => {
  it('a drain ends when the callers that came before it have', async () => {
    const { queue } = coalescing({ maxDelay: 1000 });
    const ended: string[] = [];
    void queue.submit(input('a')).then(() => ended.push('first'));
    void queue.drain().then(() => ended.push('drained'));
    const joined = queue.submit(input('a', 2));
    void queue.drain().then(() => ended.push('drained again'));
    await advance(8);
    expect(ended).toEqual([]);
    await advance(10);
    await joined;
    expect(ended.sort()).toEqual(['drained', 'drained again', 'first']);
    expect(queue.stats().dispatches.drain).toBe(1);
  });

  it('a caller cannot join once the queue is stopping', async () => {
    const { queue } = coalescing();
    const first = queue.submit(input('a'));
    const stopped = queue.stop();
    await expect(queue.submit(input('a', 2))).rejects.toThrow(ServiceStoppedError);
    await advance(20);
    await stopped;
    expect(await first).toEqual({ of: input('a') });
  });

  it('a hard stop drops every caller of what waits, at the door too', async () => {
    const { queue } = coalescing({ maxQueued: 1, onFull: 'wait', autoStart: false });
    const results = ['a', 'b'].flatMap((key) => [1, 2, 3].map((no) => kept(queue.submit(input(key, no)))));
    const stopped = queue.stop({ hard: true });
    await advance(1);
    await stopped;
    expect(await outcomes(results)).toEqual(Array(6).fill(expect.any(ServiceStoppedError)));
    expect(queue.stats()).toMatchObject({
      submitted: 6,
      dropped: 6,
      drops: { stopped: 6 },
      blocked: 0,
      waiting: 0,
    });
  });

  it('a stop at its time limit rejects every caller of what runs', async () => {
    const { queue } = coalescing({}, 1e6);
    const results = [1, 2, 3].map((no) => kept(queue.submit(input('a', no))));
    await advance(8);
    const stopped = queue.stop({ timeout: 5 });
    await advance(6);
    await stopped;
    expect(await outcomes(results)).toEqual(Array(3).fill(expect.any(ServiceStoppedError)));
    expect(queue.stats()).toMatchObject({ submitted: 3, errors: 3, running: 0 });
  });
});

describe('ten thousand callers of one key', () => {
  it('join and leave in constant time each', async () => {
    const { queue } = coalescing();
    const caller = new AbortController();
    const results = Array.from({ length: 10_000 }, (_, no) =>
      kept(queue.submit(input('a', no), no > 0 ? { signal: caller.signal, timeout: 1e6 } : undefined)),
    );
    await advance(8);
    caller.abort(new Error('gone'));
    expect(queue.stats()).toMatchObject({ submitted: 10_000, errors: 9_999, running: 1 });
    await advance(10);
    expect(await results[0]).toEqual({ of: input('a', 0) });
    expect(jest.getTimerCount()).toBe(0);
  });
});
