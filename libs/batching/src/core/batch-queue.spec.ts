import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as setTimeoutAsync } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { BatchQueue } from './batch-queue.js';
import { BatchTimeoutError, QueueFullError, ServiceStoppedError } from './errors.js';
import type { BatchOptions } from './options.js';
import type { BatchReport } from './stats.js';

/** A queue whose batch function doubles its inputs, `runTime` ms after the call, and records each batch. */
function doubling(options: Partial<BatchOptions> = {}, runTime = 0) {
  const batches: number[][] = [];
  const queue = new BatchQueue<number, number>(
    async (inputs) => {
      batches.push([...inputs]);
      if (runTime > 0) await new Promise((resolve) => setTimeout(resolve, runTime));
      return inputs.map((input) => 2 * input);
    },
    { batchSize: 3, maxDelay: 10, dispatch: 'fixed', ...options },
  );
  return { queue, batches };
}

const advance = (ms: number) => jest.advanceTimersByTimeAsync(ms);

/**
 * A turn of the event loop: the fake clock gives an immediate that is set by a timer one millisecond of its
 * own.
 */
const TURN = 1;

/** The state of a promise after a few microtasks. */
async function outcome(promise: Promise<unknown>): Promise<unknown> {
  const soon = async () => {
    for (let tick = 0; tick < 5; tick++) await Promise.resolve();
    return 'pending';
  };
  return Promise.race([promise.catch((error: unknown) => error), soon()]);
}

beforeEach(() => {
  jest.useFakeTimers();
});

afterEach(() => {
  jest.useRealTimers();
});

describe('a batch leaves', () => {
  it('when it is full, each caller getting its own result', async () => {
    const { queue, batches } = doubling();
    const results = queue.submitMany([1, 2, 3]);
    await advance(0);
    expect(batches).toEqual([[1, 2, 3]]);
    expect(await Promise.all(results)).toEqual([2, 4, 6]);
    expect(queue.stats().dispatches.size).toBe(1);
  });

  it('when its oldest input has waited maxDelay, counted from its own submission', async () => {
    const { queue, batches } = doubling();
    await advance(500);
    const first = queue.submit(1);
    await advance(6);
    const second = queue.submit(2);
    await advance(3);
    expect(batches).toEqual([]);
    await advance(1 + TURN);
    expect(batches).toEqual([[1, 2]]);
    expect(await Promise.all([first, second])).toEqual([2, 4]);
    expect(queue.stats().dispatches.delay).toBe(1);
  });

  it('when the alarm rings, even if the clock is a little behind the timer', async () => {
    const { queue, batches } = doubling();
    const clock = performance.now.bind(performance);
    void queue.submit(1);
    await advance(9);
    const behind = jest.spyOn(performance, 'now').mockImplementation(() => clock() - 1.5);
    await advance(1 + TURN);
    behind.mockRestore();
    expect(batches).toEqual([[1]]);
  });

  it('at once when maxDelay is 0, with all inputs of the same turn', async () => {
    const { queue, batches } = doubling({ maxDelay: 0 });
    void queue.submitMany([1, 2]);
    await advance(0);
    expect(batches).toEqual([[1, 2]]);
  });

  it('never before it is full when maxDelay is Infinity', async () => {
    const { queue, batches } = doubling({ maxDelay: Infinity });
    void queue.submitMany([1, 2]);
    await advance(1e9);
    expect(batches).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
    void queue.submit(3);
    await advance(0);
    expect(batches).toEqual([[1, 2, 3]]);
  });

  it('at once when a slot is free, if it is eager', async () => {
    const { queue, batches } = doubling({ dispatch: 'eager', maxDelay: 1000 });
    void queue.submit(1);
    await advance(0);
    expect(batches).toEqual([[1]]);
    expect(queue.stats().dispatches.idle).toBe(1);
  });

  it('when maxQueued inputs wait, as no more can come', async () => {
    const { queue, batches } = doubling({ batchSize: 10, maxQueued: 2 });
    void queue.submitMany([1, 2]);
    await advance(0);
    expect(batches).toEqual([[1, 2]]);
  });
});

describe('late binding', () => {
  it('lets the open batch grow while all slots are busy', async () => {
    const { queue, batches } = doubling({}, 100);
    void queue.submitMany([1, 2, 3]);
    await advance(50);
    void queue.submit(4);
    await advance(40);
    void queue.submit(5);
    await advance(9);
    expect(batches).toEqual([[1, 2, 3]]);
    await advance(2);
    expect(batches).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
  });

  it('runs as many batches at a time as concurrency says', async () => {
    const { queue } = doubling({ concurrency: 2 }, 100);
    void queue.submitMany([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await advance(20);
    expect(queue.stats()).toMatchObject({ runningBatches: 2, running: 6, waiting: 3 });
  });
});

describe('a batch function that blocks the event loop', () => {
  /** Blocks for 5 ms by the clock that the queue reads. */
  const block = () => {
    for (const end = performance.now() + 5; performance.now() < end;);
  };

  it('has the sockets read before its callers are answered, so that what came meanwhile is known apart', async () => {
    jest.useRealTimers();
    const events: string[] = [];
    const queue = new BatchQueue<number, number>(
      (inputs) => {
        block();
        return Promise.resolve(inputs);
      },
      { batchSize: 8, maxDelay: 10 },
    );
    const first = queue.submit(1).then(() => events.push('answered'));
    // Due while the batch blocks, as a request that is in its socket then.
    const second = new Promise<void>((resolve) => {
      setTimeout(() => {
        events.push('submitted');
        void queue.submit(2).then(() => {
          resolve();
        });
      }, 3);
    });
    await Promise.all([first, second]);

    expect(events).toEqual(['submitted', 'answered']);
    await queue.stop();
  });

  it('does not keep its answers back while the next full batch runs', async () => {
    jest.useRealTimers();
    const events: string[] = [];
    const queue = new BatchQueue<number, number>(
      (inputs) => {
        events.push('run');
        block();
        return Promise.resolve(inputs);
      },
      { batchSize: 1, maxDelay: 10 },
    );
    await Promise.all([1, 2, 3].map((input) => queue.submit(input).then(() => events.push('answered'))));

    expect(events).toEqual(['run', 'answered', 'run', 'answered', 'run', 'answered']);
    await queue.stop();
  });

  it('is not part of the wait of inputs that its callers submit next', async () => {
    jest.useRealTimers();
    const runs: { start: number; end: number }[] = [];
    const queue = new BatchQueue<number, number>(
      (inputs) => {
        const start = performance.now();
        block();
        runs.push({ start, end: performance.now() });
        return inputs;
      },
      { batchSize: 1, maxDelay: 10, dispatch: 'fixed' },
    );
    const waits: number[] = [];
    queue.onBatch(({ waited }) => waits.push(waited));
    await Promise.all([queue.submit(1).then(() => queue.submit(3)), queue.submit(2)]);

    const [first, , third] = runs;
    expect(waits[2]).toBeLessThanOrEqual((third?.start ?? NaN) - (first?.end ?? NaN));
    await queue.stop();
  });

  it('is not part of the wait of inputs that came before its callers were answered', async () => {
    jest.useRealTimers();
    const runs: { start: number; end: number }[] = [];
    let second: Promise<number> | undefined;
    const queue = new BatchQueue<number, number>(
      (inputs) => {
        const start = performance.now();
        // As a request that comes while the loop is blocked, and is read before the look.
        second ??= setTimeoutAsync(0).then(() => queue.submit(2));
        block();
        runs.push({ start, end: performance.now() });
        return inputs;
      },
      { batchSize: 8, maxDelay: 10 },
    );
    const waits: number[] = [];
    queue.onBatch(({ waited }) => waits.push(waited));
    await queue.submit(1);
    await second;

    expect(waits[1]).toBeLessThanOrEqual((runs[1]?.start ?? NaN) - (runs[0]?.end ?? NaN));
    await queue.stop();
  });
});

describe('giving up', () => {
  it('works for the input that was next when a batch left', async () => {
    const { queue, batches } = doubling({ batchSize: 1, maxDelay: 0 }, 20);
    const caller = new AbortController();
    const first = queue.submit(1);
    const second = queue.submit(2, { signal: caller.signal }).catch((error: unknown) => error);
    const third = queue.submit(3);
    await advance(5);
    expect(batches).toEqual([[1]]);
    caller.abort('gone');
    await advance(60);
    expect(batches).toEqual([[1], [3]]);
    expect(await Promise.all([first, second, outcome(third)])).toEqual([2, 'gone', 6]);
  });

  it('rejects with the reason of the signal, and never runs an input that still waits', async () => {
    const { queue, batches } = doubling();
    const caller = new AbortController();
    const given = queue.submit(1, { signal: caller.signal });
    const kept = queue.submit(2);
    caller.abort(new Error('gone'));
    await expect(given).rejects.toThrow('gone');
    await advance(10 + TURN);
    expect(await kept).toBe(4);
    expect(batches).toEqual([[2]]);
    expect(queue.stats()).toMatchObject({ submitted: 2, dropped: 1, settled: 1, drops: { aborted: 1 } });
  });

  it('refuses an input whose signal has aborted already', async () => {
    const { queue, batches } = doubling();
    await expect(queue.submit(1, { signal: AbortSignal.abort('no') })).rejects.toBe('no');
    await advance(20);
    expect(batches).toEqual([]);
  });

  it('rejects at once when the input runs, and does not affect the others of its batch', async () => {
    const { queue } = doubling({}, 100);
    const caller = new AbortController();
    const given = queue.submit(1, { signal: caller.signal });
    const [second, third] = queue.submitMany([2, 3]);
    await advance(50);
    caller.abort(new Error('gone'));
    await expect(given).rejects.toThrow('gone');
    expect(queue.stats()).toMatchObject({ running: 2, settled: 1, errors: 1, dropped: 0 });
    await advance(51);
    expect(await second).toBe(4);
    expect(await third).toBe(6);
  });

  it('rejects with a BatchTimeoutError that says where the input was', async () => {
    const { queue } = doubling({}, 1000);
    const running = queue.submit(1, { timeout: 100 });
    await advance(50);
    const waiting = queue.submit(2, { timeout: 20 });
    const outcomes = Promise.all([outcome(running), outcome(waiting)]);
    await advance(60);
    expect(await outcome(running)).toMatchObject({
      code: 'ERR_BATCHING_TIMEOUT',
      phase: 'running',
      timeout: 100,
    });
    expect(await outcome(waiting)).toBeInstanceOf(BatchTimeoutError);
    expect(await outcome(waiting)).toMatchObject({ phase: 'waiting' });
    await outcomes;
  });

  it('makes room for inputs at the door', async () => {
    const { queue } = doubling({ maxQueued: 1, onFull: 'wait', autoStart: false });
    const caller = new AbortController();
    const given = outcome(queue.submit(1, { signal: caller.signal }));
    void queue.submit(2);
    expect(queue.stats()).toMatchObject({ waiting: 1, blocked: 1 });
    caller.abort('gone');
    expect(queue.stats()).toMatchObject({ waiting: 1, blocked: 0 });
    await given;
  });

  it('clears the alarm when no input is left, as does a batch that takes all', async () => {
    const { queue } = doubling({ maxDelay: 1000 });
    const caller = new AbortController();
    const given = outcome(queue.submit(1, { signal: caller.signal }));
    await advance(0);
    expect(jest.getTimerCount()).toBe(1);
    caller.abort('gone');
    expect(jest.getTimerCount()).toBe(0);
    await given;
    void queue.submit(2);
    await advance(0);
    expect(jest.getTimerCount()).toBe(1);
    await Promise.all([queue.drain(), advance(TURN)]);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('leaves neither timer nor listener behind', async () => {
    const { queue } = doubling();
    const { signal } = new AbortController();
    const add = jest.spyOn(signal, 'addEventListener');
    const remove = jest.spyOn(signal, 'removeEventListener');
    const results = queue.submitMany([1, 2, 3], { signal, timeout: 5000 });
    await advance(0);
    await Promise.all(results);
    // One listener, however many inputs share the signal: Node warns of more than ten.
    expect(add).toHaveBeenCalledTimes(1);
    expect(remove).toHaveBeenCalledTimes(1);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('accepts a timeout longer than a timer of Node can be', async () => {
    const { queue } = doubling({ maxDelay: 50 });
    const result = queue.submit(1, { timeout: 2 ** 40 });
    await advance(50 + TURN);
    expect(await result).toBe(2);
  });
});

describe('a full queue', () => {
  it('refuses with a QueueFullError that says when to try again', async () => {
    const { queue } = doubling({ batchSize: 1, maxQueued: 2 }, 100);
    void queue.submit(0);
    await advance(100);
    void queue.submit(1);
    await advance(0);
    void queue.submitMany([2, 3]);
    const refused = await outcome(queue.submit(4));
    expect(refused).toBeInstanceOf(QueueFullError);
    expect(refused).toMatchObject({ code: 'ERR_BATCHING_FULL', maxQueued: 2 });
    // One batch has just left and two wait, each of which takes 100 ms.
    expect((refused as QueueFullError).retryAfter).toBeCloseTo(300, -1);
    expect(queue.stats()).toMatchObject({ waiting: 2, dropped: 1, drops: { full: 1 } });
  });

  it("makes the caller wait with onFull: 'wait', in order of arrival", async () => {
    const { queue, batches } = doubling({ batchSize: 2, maxQueued: 2, onFull: 'wait' }, 10);
    const results = queue.submitMany([1, 2, 3, 4, 5]);
    expect(queue.stats()).toMatchObject({ submitted: 2, waiting: 2, blocked: 3 });
    await advance(100);
    expect(await Promise.all(results)).toEqual([2, 4, 6, 8, 10]);
    expect(batches).toEqual([[1, 2], [3, 4], [5]]);
    expect(queue.stats()).toMatchObject({ submitted: 5, settled: 5, blocked: 0 });
  });

  it('lets a caller that waits for room give up', async () => {
    const { queue, batches } = doubling({ batchSize: 1, maxQueued: 1, onFull: 'wait' }, 10);
    void queue.submitMany([1, 2]);
    await expect(Promise.all([queue.submit(3, { timeout: 5 }), advance(6)])).rejects.toBeInstanceOf(
      BatchTimeoutError,
    );
    await advance(100);
    expect(batches).toEqual([[1], [2]]);
    expect(queue.stats()).toMatchObject({ submitted: 3, settled: 2, dropped: 1 });
  });

  it('has no bound with maxQueued 0, as in the reference', () => {
    const { queue } = doubling({ maxQueued: 0, autoStart: false });
    void queue.submitMany(Array.from({ length: 20_000 }, (_, index) => index));
    expect(queue.stats().waiting).toBe(20_000);
    expect(queue.maxQueued).toBe(Infinity);
  });
});

describe('start', () => {
  it('no batch leaves before it', async () => {
    const { queue, batches } = doubling({ autoStart: false });
    void queue.submitMany([1, 2, 3, 4]);
    await advance(1000);
    expect(batches).toEqual([]);
    queue.start();
    await advance(TURN);
    expect(batches).toEqual([[1, 2, 3], [4]]);
  });

  it('is refused on a queue that was stopped', async () => {
    const { queue } = doubling();
    await Promise.all([queue.stop(), advance(0)]);
    expect(() => {
      queue.start();
    }).toThrow(ServiceStoppedError);
  });
});

describe('drain', () => {
  it('sends off what waits without delay, resolves when it has ended, and goes on taking inputs', async () => {
    const { queue, batches } = doubling({ maxDelay: 1000 }, 10);
    void queue.submit(1);
    let drained = false;
    void queue.drain().then(() => (drained = true));
    await advance(5);
    expect(batches).toEqual([[1]]);
    expect(drained).toBe(false);
    const later = queue.submit(2);
    await advance(5);
    expect(drained).toBe(true);
    expect(await outcome(later)).toBe('pending');
    await advance(1010);
    expect(await later).toBe(4);
    expect(queue.stats().dispatches).toMatchObject({ drain: 1, delay: 1 });
  });

  it('does not wait for inputs that came after it', async () => {
    const { queue } = doubling({ maxDelay: Infinity });
    await Promise.all([queue.drain(), advance(0)]);
    void queue.submit(1);
    let drained = false;
    void queue.drain().then(() => (drained = true));
    void queue.submit(2);
    await advance(10);
    expect(drained).toBe(true);
  });

  it('does not send off inputs of the same turn that came after it', async () => {
    const { queue, batches } = doubling({ batchSize: 2, maxDelay: 100 });
    void queue.submitMany([1, 2]);
    void queue.drain();
    void queue.submit(3);
    await advance(50);
    expect(batches).toEqual([[1, 2]]);
  });

  it('does not wait for a caller that gives up', async () => {
    const { queue } = doubling({}, 1e9);
    const given = outcome(queue.submit(1, { timeout: 50 }));
    await advance(20);
    let drained = false;
    void queue.drain().then(() => (drained = true));
    await advance(40);
    await given;
    expect(drained).toBe(true);
  });
});

describe('stop', () => {
  it('runs what was accepted, without delay, and refuses what comes later', async () => {
    const { queue, batches } = doubling({ maxDelay: 1000 });
    const results = queue.submitMany([1, 2, 3, 4]);
    const stopped = queue.stop();
    await expect(queue.submit(5)).rejects.toBeInstanceOf(ServiceStoppedError);
    await advance(1);
    await stopped;
    expect(await Promise.all(results)).toEqual([2, 4, 6, 8]);
    expect(batches).toEqual([[1, 2, 3], [4]]);
    expect(queue.stats().state).toBe('stopped');
    expect(jest.getTimerCount()).toBe(0);
  });

  it('runs also what waits for room and what came before a start', async () => {
    const { queue } = doubling({ batchSize: 1, maxQueued: 1, onFull: 'wait', autoStart: false });
    const results = queue.submitMany([1, 2, 3]);
    await Promise.all([queue.stop(), advance(10)]);
    expect(await Promise.all(results)).toEqual([2, 4, 6]);
  });

  it('hard: drops what waits with a typed error, and waits for what runs', async () => {
    const { queue, batches } = doubling({}, 100);
    const running = queue.submitMany([1, 2, 3]);
    await advance(10);
    const waiting = queue.submit(4);
    const stopped = queue.stop({ hard: true });
    expect(await outcome(waiting)).toMatchObject({ code: 'ERR_BATCHING_STOPPED' });
    await advance(100);
    await stopped;
    expect(await Promise.all(running)).toEqual([2, 4, 6]);
    expect(batches).toHaveLength(1);
    expect(queue.stats()).toMatchObject({ settled: 3, dropped: 1, drops: { stopped: 1 } });
  });

  it('with a timeout: leaves no caller waiting, not even for a batch function that never returns', async () => {
    const queue = new BatchQueue<number, number>(() => new Promise(() => undefined), {
      batchSize: 1,
      maxDelay: 0,
    });
    const outcomes = queue.submitMany([1, 2]).map(outcome);
    await advance(0);
    const all = queue.submitMany([3]).map(outcome);
    const stopped = queue.stop({ timeout: 50 });
    const ends = Promise.all([...outcomes, ...all]);
    await advance(49);
    expect(queue.stats()).toMatchObject({ running: 1, waiting: 2 });
    await advance(1);
    await stopped;
    await ends;
    expect(queue.stats()).toMatchObject({ submitted: 3, running: 0, waiting: 0, errors: 1, dropped: 2 });
  });

  it('can be called again, harder', async () => {
    const { queue } = doubling({ batchSize: 1 }, 100);
    const first = queue.submit(1);
    await advance(0);
    const second = queue.submit(2);
    const soft = queue.stop();
    const hard = queue.stop({ hard: true });
    expect(await outcome(second)).toBeInstanceOf(ServiceStoppedError);
    await advance(100);
    await Promise.all([soft, hard]);
    expect(await first).toBe(2);
    await queue.stop();
  });
});

describe('settings while it runs', () => {
  it('are used by the next decision', async () => {
    const { queue, batches } = doubling({ batchSize: 5, maxDelay: 1000 });
    void queue.submitMany([1, 2, 3, 4]);
    await advance(10);
    queue.batchSize = 2;
    await advance(0);
    expect(batches).toEqual([
      [1, 2],
      [3, 4],
    ]);
    void queue.submit(5);
    await advance(10);
    queue.maxDelay = 5;
    await advance(0);
    expect(batches[2]).toEqual([5]);
  });

  it('a shorter maxDelay applies to inputs that wait already', async () => {
    const { queue, batches } = doubling({ maxDelay: 1000 });
    void queue.submit(1);
    await advance(10);
    queue.maxDelay = 50;
    await advance(39);
    expect(batches).toEqual([]);
    await advance(1 + TURN);
    expect(batches).toEqual([[1]]);
  });

  it('a longer maxDelay applies to inputs that wait already', async () => {
    const { queue, batches } = doubling({ maxDelay: 10 });
    void queue.submit(1);
    await advance(5);
    queue.maxDelay = 100;
    await advance(94);
    expect(batches).toEqual([]);
    await advance(1 + TURN);
    expect(batches).toEqual([[1]]);
  });

  it('concurrency and maxQueued too', async () => {
    const { queue } = doubling({ batchSize: 1, maxQueued: 1, onFull: 'wait' }, 100);
    void queue.submitMany([1, 2, 3]);
    await advance(1);
    expect(queue.stats()).toMatchObject({ running: 1, waiting: 1, blocked: 1 });
    queue.maxQueued = 5;
    expect(queue.stats()).toMatchObject({ waiting: 2, blocked: 0 });
    await advance(1);
    queue.concurrency = 3;
    await advance(1);
    expect(queue.stats()).toMatchObject({ running: 3 });
  });

  it('are checked like those of the constructor', () => {
    const { queue } = doubling();
    expect(() => (queue.batchSize = 0)).toThrow(
      new RangeError('batchSize: expected an integer ≥ 1 or Infinity, got 0'),
    );
    expect(() => (queue.maxDelay = -1)).toThrow(
      new RangeError('maxDelay: expected milliseconds ≥ 0, got -1'),
    );
    expect(() => (queue.concurrency = 1.5)).toThrow(RangeError);
    expect(() => (queue.maxQueued = NaN)).toThrow(RangeError);
    expect(queue.stats().options).toMatchObject({
      batchSize: 3,
      maxDelay: 10,
      concurrency: 1,
      maxQueued: 10_000,
    });
  });
});

describe('async context', () => {
  it('is neither that of a caller nor that of the builder for the batch function; callers keep theirs', async () => {
    // Fake immediates run in the context of the test.
    jest.useRealTimers();
    const store = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const queue = store.run(
      'builder',
      () =>
        new BatchQueue<number, number>(
          (inputs) => {
            seen.push(store.getStore());
            return inputs;
          },
          { batchSize: 2, maxDelay: 5 },
        ),
    );
    const callers = ['a', 'b', 'c'].map((name, index) =>
      store.run(name, async () => {
        await queue.submit(index);
        return store.getStore();
      }),
    );
    expect(await Promise.all(callers)).toEqual(['a', 'b', 'c']);
    expect(seen).toEqual([undefined, undefined]);
  });
});

describe('stats and reports', () => {
  it('contain sizes, waits, run times and reasons', async () => {
    const { queue } = doubling({}, 20);
    const reports: BatchReport[] = [];
    const unsubscribe = queue.onBatch((report) => reports.push(report));
    void queue.submitMany([1, 2, 3]);
    await advance(20);
    void queue.submit(4);
    await advance(40);
    const stats = queue.stats();
    expect(stats.batches).toBe(2);
    expect(stats.batchSizes).toMatchObject({ count: 2, mean: 2, p50: 1, max: 3 });
    expect(stats.waitTime.count).toBe(4);
    expect(stats.waitTime.max).toBe(10 + TURN);
    expect(stats.runTime.p50).toBeCloseTo(20, 0);
    expect(reports).toEqual([
      { queue: queue.name, size: 3, reason: 'size', waited: 0, ran: 20, results: 3, errors: 0 },
      { queue: queue.name, size: 1, reason: 'delay', waited: 10 + TURN, ran: 20, results: 1, errors: 0 },
    ]);
    unsubscribe();
    void queue.submit(5);
    await advance(30);
    expect(reports).toHaveLength(2);
  });
});

describe('bad options', () => {
  const build =
    (options: unknown, fn: unknown = () => []) =>
    () =>
      new BatchQueue(fn as () => never[], options as BatchOptions);

  it.each([
    [{ batchSize: 0, maxDelay: 1 }, RangeError, 'batchSize: expected an integer ≥ 1 or Infinity, got 0'],
    [{ batchSize: 2.5, maxDelay: 1 }, RangeError, 'batchSize: expected an integer ≥ 1 or Infinity, got 2.5'],
    [{ batchSize: '8', maxDelay: 1 }, TypeError, "batchSize: expected an integer ≥ 1 or Infinity, got '8'"],
    [{ maxDelay: 1 }, TypeError, 'batchSize: expected an integer ≥ 1 or Infinity, got undefined'],
    [{ batchSize: 2 }, TypeError, 'maxDelay: expected a number of milliseconds, got undefined'],
    [{ batchSize: 2, maxDelay: NaN }, RangeError, 'maxDelay: expected milliseconds ≥ 0, got NaN'],
    [
      { batchSize: 2, maxDelay: 1, concurrency: 0 },
      RangeError,
      'concurrency: expected an integer ≥ 1 or Infinity, got 0',
    ],
    [
      { batchSize: 2, maxDelay: 1, concurrency: 1.5 },
      RangeError,
      'concurrency: expected an integer ≥ 1 or Infinity, got 1.5',
    ],
    [
      { batchSize: 2, maxDelay: 1, maxQueued: -1 },
      RangeError,
      'maxQueued: expected an integer ≥ 0 or Infinity, got -1',
    ],
    [
      { batchSize: 2, maxDelay: 1, onFull: 'drop' },
      RangeError,
      "onFull: expected 'reject' or 'wait', got 'drop'",
    ],
    [
      { batchSize: 2, maxDelay: 1, dispatch: 1 },
      TypeError,
      "dispatch: expected 'adaptive' or 'fixed' or 'eager', got 1",
    ],
    [{ batchSize: 2, maxDelay: 1, autoStart: 'no' }, TypeError, "autoStart: expected a boolean, got 'no'"],
    [{ batchSize: 2, maxDelay: 1, name: Symbol('x') }, TypeError, 'name: expected a string, got Symbol(x)'],
    [null, TypeError, 'options: expected an object with batchSize and maxDelay, got null'],
  ])('%p', (options, type, message) => {
    expect(build(options)).toThrow(type);
    expect(build(options)).toThrow(message);
  });

  it('a batch function that is not a function', () => {
    expect(build({ batchSize: 1, maxDelay: 0 }, [])).toThrow(
      'batchFunction: expected a function, got an array of 0',
    );
  });

  it('of one input reject it, and it is not counted', async () => {
    const { queue } = doubling();
    await expect(queue.submit(1, { timeout: -1 })).rejects.toThrow(RangeError);
    await expect(queue.submit(1, { signal: {} as AbortSignal })).rejects.toThrow(TypeError);
    expect(queue.stats().submitted).toBe(0);
  });
});
