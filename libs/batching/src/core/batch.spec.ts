import { execFile } from 'node:child_process';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it, jest } from '@jest/globals';
import type { BatchContext } from './batch-function.js';
import { BatchQueue } from './batch-queue.js';
import { BatchTimeoutError, DeadlineError, ServiceStoppedError } from './errors.js';
import type { BatchFunction } from './batch-function.js';
import type { BatchOptions } from './options.js';
import type { BatchReport } from './stats.js';

function queueOf(batchFunction: BatchFunction<number, number>, options: Partial<BatchOptions> = {}) {
  return new BatchQueue<number, number>(batchFunction, { batchSize: 64, maxDelay: 1, ...options });
}

async function outcomes(promises: Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((one): unknown => (one.status === 'fulfilled' ? one.value : one.reason));
}

/** Waits for a condition instead of a time: a busy machine may take any time. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setImmediate();
}

describe('isolateErrors', () => {
  const poison = new Error('poison');
  const failing = (culprits: number[]) =>
    jest.fn((inputs: number[]) => {
      if (inputs.some((input) => culprits.includes(input))) throw poison;
      return inputs;
    });

  it('gives only the culprit the error, at 2 · log₂ n runs more', async () => {
    for (const culprit of [0, 1, 31, 32, 63]) {
      const run = failing([culprit]);
      const queue = queueOf(run, { isolateErrors: true });
      const results = await outcomes(queue.submitMany(Array.from({ length: 64 }, (_, input) => input)));
      results.forEach((result, input) => {
        expect(result).toBe(input === culprit ? poison : input);
      });
      expect(run.mock.calls.length - 1).toBeLessThanOrEqual(2 * Math.log2(64));
      expect(queue.stats()).toMatchObject({ results: 63, errors: 1, running: 0, batches: 1 });
    }
  });

  it('finds several culprits', async () => {
    const queue = queueOf(failing([2, 3, 9]), { isolateErrors: true });
    const results = await outcomes(queue.submitMany([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    expect(results).toEqual([0, 1, poison, poison, 4, 5, 6, 7, 8, poison]);
  });

  it('does not run inputs again whose callers have gone meanwhile', async () => {
    const caller = new AbortController();
    const seen: number[][] = [];
    const queue = queueOf(
      async (inputs) => {
        seen.push([...inputs]);
        if (seen.length === 1) {
          await setTimeout(5);
          throw poison;
        }
        return inputs;
      },
      { isolateErrors: true },
    );
    const gone = queue.submitMany([1, 2], { signal: caller.signal });
    const kept = queue.submitMany([3, 4]);
    await until(() => seen.length === 1);
    caller.abort(new Error('gone'));
    expect((await outcomes(gone)).map(String)).toEqual(['Error: gone', 'Error: gone']);
    expect(await outcomes(kept)).toEqual([3, 4]);
    expect(seen).toEqual([
      [1, 2, 3, 4],
      [3, 4],
    ]);
  });

  it('runs the last one left again: an input whose caller has gone may have been at fault', async () => {
    const caller = new AbortController();
    let calls = 0;
    const queue = queueOf(
      async (inputs) => {
        if (++calls === 1) await setTimeout(5);
        if (inputs.includes(1)) throw poison;
        return inputs;
      },
      { isolateErrors: true },
    );
    const gone = queue.submit(1, { signal: caller.signal });
    const kept = queue.submit(2);
    await until(() => calls === 1);
    caller.abort(new Error('gone'));
    expect((await outcomes([gone, kept])).map(String)).toEqual(['Error: gone', '2']);
  });

  it('gives the whole batch up when a part of it hangs', async () => {
    const seen: number[][] = [];
    const queue = queueOf(
      async (inputs) => {
        seen.push([...inputs]);
        if (seen.length === 1) throw poison;
        return new Promise(() => undefined);
      },
      { isolateErrors: true, runTimeout: 10 },
    );
    const results = await outcomes(queue.submitMany([1, 2, 3, 4]));
    expect(results).toEqual(Array(4).fill(expect.any(BatchTimeoutError)));
    expect(seen).toEqual([
      [1, 2, 3, 4],
      [1, 2],
    ]);
  });

  it('gives the whole batch up when a promise in the place of a part hangs', async () => {
    const seen: number[][] = [];
    const queue = queueOf(
      (inputs) => {
        seen.push([...inputs]);
        if (seen.length === 1) throw poison;
        return inputs.map((input) => (input === 2 ? new Promise<number>(() => undefined) : input));
      },
      { isolateErrors: true, runTimeout: 10 },
    );
    const hanging = expect.any(BatchTimeoutError);
    expect(await outcomes(queue.submitMany([1, 2, 3, 4]))).toEqual([1, hanging, hanging, hanging]);
    expect(seen).toEqual([
      [1, 2, 3, 4],
      [1, 2],
    ]);
  });

  it('runs no halves of a batch that a hard stop has aborted', async () => {
    const run = jest.fn(async (inputs: number[], { signal }: BatchContext) => {
      await setTimeout(10_000, undefined, { signal });
      return inputs;
    });
    const queue = queueOf((inputs, batch) => run(inputs, batch), { isolateErrors: true });
    const results = outcomes(queue.submitMany([1, 2, 3, 4]));
    await until(() => queue.stats().running === 4);
    await queue.stop({ hard: true });
    expect((await results).map((error) => (error as Error).name)).toEqual(Array(4).fill('AbortError'));
    expect(run).toHaveBeenCalledTimes(1);
  });

  it('is off by default: the function may not be safe to call again', async () => {
    const run = failing([1]);
    expect(await outcomes(queueOf(run).submitMany([0, 1, 2]))).toEqual([poison, poison, poison]);
    expect(run).toHaveBeenCalledTimes(1);
  });

  it('does not split a batch for a wrong number of results', async () => {
    const run = jest.fn(() => [1]);
    await outcomes(queueOf(run, { isolateErrors: true }).submitMany([1, 2, 3]));
    expect(run).toHaveBeenCalledTimes(1);
  });
});

describe('the second argument', () => {
  it('is a context with a signal and nothing else, new for every run, also where none is declared', async () => {
    const given: unknown[][] = [];
    const record = (...parameters: unknown[]) => {
      given.push(parameters);
      if (given.length === 1) throw new Error('broken');
      return parameters[0] as number[];
    };
    const queue = queueOf(record, { isolateErrors: true });
    expect(await outcomes(queue.submitMany([1, 2]))).toEqual([1, 2]);
    expect(given).toHaveLength(3);
    expect(new Set(given.map(([, context]) => context)).size).toBe(3);
    for (const parameters of given) {
      expect(parameters).toHaveLength(2);
      const [, context] = parameters as [unknown, BatchContext];
      expect(Reflect.ownKeys(context)).toEqual([]);
      expect(Object.getOwnPropertyNames(Object.getPrototypeOf(context))).toEqual(['constructor', 'signal']);
      expect(context.signal).toBeInstanceOf(AbortSignal);
    }
  });
});

describe('batch.signal', () => {
  it('aborts when every caller of the batch has gone, and not before', async () => {
    const contexts: BatchContext[] = [];
    const queue = queueOf(async (inputs, batch) => {
      contexts.push(batch);
      await setTimeout(30, undefined, { signal: batch.signal });
      return inputs;
    });
    const [first, second] = [new AbortController(), new AbortController()];
    const results = outcomes([
      queue.submit(1, { signal: first.signal }),
      queue.submit(2, { signal: second.signal }),
    ]);
    await until(() => queue.stats().running === 2);
    first.abort('one');
    expect(contexts[0]?.signal.aborted).toBe(false);
    second.abort('two');
    expect(contexts[0]?.signal.aborted).toBe(true);
    expect(await results).toEqual(['one', 'two']);
    await until(() => queue.stats().runningBatches === 0);
  });

  it('keeps the reason why it aborted when callers of another batch give up later', async () => {
    const contexts: BatchContext[] = [];
    const queue = queueOf(
      (_inputs, batch) => {
        contexts.push(batch);
        return new Promise(() => undefined);
      },
      { batchSize: 1, concurrency: 2 },
    );
    const [first, second] = [new AbortController(), new AbortController()];
    const results = outcomes([
      queue.submit(1, { signal: first.signal }),
      queue.submit(2, { signal: second.signal }),
    ]);
    await until(() => contexts.length === 2);
    first.abort('one');
    second.abort('two');
    expect(contexts.map(({ signal }): unknown => signal.reason)).toEqual(['one', 'two']);
    expect(await results).toEqual(['one', 'two']);
  });

  it('aborts on a hard stop', async () => {
    const queue = queueOf(async (inputs, { signal }) => {
      await setTimeout(10_000, undefined, { signal });
      return inputs;
    });
    const result = queue.submit(1).catch((error: unknown) => error);
    await until(() => queue.stats().running === 1);
    await queue.stop({ hard: true });
    expect(String((await result) as Error)).toContain('abort');
  });

  it('keeps the reason of a hard stop when its callers give up after that, also where it is asked for late', async () => {
    let batch: BatchContext | undefined;
    const queue = queueOf((_inputs, context) => {
      batch = context;
      return new Promise(() => undefined);
    });
    const caller = new AbortController();
    const results = outcomes([queue.submit(1, { signal: caller.signal })]);
    await until(() => batch !== undefined);
    const stopped = queue.stop({ hard: true });
    caller.abort('gone');
    expect(await results).toEqual(['gone']);
    expect(batch?.signal.reason).toBeInstanceOf(ServiceStoppedError);
    await stopped;
  });

  it('is aborted already for a function that asks for it late', async () => {
    let late: AbortSignal | undefined;
    const queue = queueOf(async (inputs, batch) => {
      await setTimeout(10);
      late = batch.signal;
      return inputs;
    });
    const caller = new AbortController();
    const results = outcomes([queue.submit(1, { signal: caller.signal })]);
    await until(() => queue.stats().running === 1);
    caller.abort('gone');
    await until(() => late !== undefined);
    expect(late).toMatchObject({ aborted: true, reason: 'gone' });
    await results;
  });
});

describe('promises in the places of results', () => {
  const broken = new Error('broken');

  it('dataloader#247: are awaited as a part of their batch: two never run at once', async () => {
    let [active, most] = [0, 0];
    const queue = queueOf(
      (inputs) =>
        inputs.map(async (input) => {
          most = Math.max(most, ++active);
          await setTimeout(5);
          active--;
          if (input === 3) throw broken;
          return input === 4 ? new RangeError('four') : input;
        }),
      { batchSize: 2 },
    );
    const reports: BatchReport[] = [];
    queue.onBatch((report) => reports.push(report));
    const results = outcomes(queue.submitMany([0, 1, 2, 3, 4, 5]));
    await queue.drain();
    expect(active).toBe(0);
    expect(most).toBe(2);
    expect(await results).toEqual([0, 1, 2, broken, new RangeError('four'), 5]);
    await until(() => queue.stats().runningBatches === 0);
    expect(queue.stats()).toMatchObject({ results: 4, errors: 2, settled: 6, running: 0 });
    expect(reports.map(({ results, errors }) => [results, errors])).toEqual([
      [2, 0],
      [1, 1],
      [1, 1],
    ]);
  });

  it('reach each caller as soon as they settle; the slot stays taken until the last has', async () => {
    const open: (() => void)[] = [];
    const seen: number[][] = [];
    const queue = queueOf(
      (inputs) => {
        seen.push([...inputs]);
        return inputs.map((input) =>
          input < 2
            ? input
            : new Promise<number>((resolve) =>
                open.push(() => {
                  resolve(input);
                }),
              ),
        );
      },
      { batchSize: 4 },
    );
    const results = queue.submitMany([0, 1, 2, 3]);
    const next = queue.submit(4);
    expect(await Promise.all(results.slice(0, 2))).toEqual([0, 1]);
    expect(queue.stats()).toMatchObject({ results: 2, running: 2, runningBatches: 1, waiting: 1 });
    open[1]?.();
    expect(await results[3]).toBe(3);
    await setTimeout(5);
    expect(queue.stats()).toMatchObject({ results: 3, running: 1, runningBatches: 1, waiting: 1 });
    expect(seen).toHaveLength(1);
    open[0]?.();
    expect(await results[2]).toBe(2);
    await until(() => seen.length === 2);
    open[2]?.();
    expect(await next).toBe(4);
  });

  it('reject their own caller alone, with whatever they reject, and are not isolated', async () => {
    const run = jest.fn(
      (inputs: number[]) =>
        inputs.map((input) => (input === 1 ? Promise.reject<number>('no error') : Promise.resolve(input))), // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
    );
    const queue = queueOf(run, { isolateErrors: true });
    expect(await outcomes(queue.submitMany([0, 1, 2]))).toEqual([0, 'no error', 2]);
    expect(run).toHaveBeenCalledTimes(1);
  });

  it('are part of the runs of isolation, one after the other', async () => {
    let [active, most] = [0, 0];
    const queue = queueOf(
      (inputs) => {
        if (inputs.includes(3)) throw broken;
        most = Math.max(most, ++active);
        return inputs.map(async (input) => {
          await setTimeout(5);
          if (input === inputs.at(-1)) active--;
          return input;
        });
      },
      { isolateErrors: true },
    );
    expect(await outcomes(queue.submitMany([0, 1, 2, 3, 4, 5]))).toEqual([0, 1, 2, broken, 4, 5]);
    expect(most).toBe(1);
  });

  it('may be any thenable: a faulty one affects its own caller only', async () => {
    const throwing = Object.defineProperty({}, 'then', {
      get: () => {
        throw broken;
      },
    });
    const twice = {
      then(resolve: (value: number) => void, reject: (error: unknown) => void) {
        resolve(2);
        resolve(3);
        reject(broken);
        throw broken;
      },
    };
    const asFunction = Object.assign(() => 0, {
      then: (resolve: (value: number) => void) => {
        resolve(4);
      },
    });
    const places = [
      0,
      throwing,
      twice,
      asFunction,
      { then: 5 },
      new Proxy(
        {},
        {
          getPrototypeOf: () => {
            throw broken;
          },
        },
      ),
    ];
    const queue = queueOf((inputs) => inputs.map((input) => places[input] as number));
    const ends = await outcomes(queue.submitMany([0, 1, 2, 3, 4, 5, 0]));
    expect(ends).toEqual([0, broken, 2, 4, { then: 5 }, broken, 0]);
    expect(queue.stats()).toMatchObject({ results: 5, errors: 2, running: 0 });
  });

  it('count for timeout, runTimeout, drain, stop and batch.signal', async () => {
    let signal: AbortSignal | undefined;
    const hang = (inputs: number[], batch: BatchContext) => {
      ({ signal } = batch);
      return inputs.map((input) => (input === 0 ? input : new Promise<number>(() => undefined)));
    };
    const timed = queueOf(hang);
    expect(await outcomes(timed.submitMany([0, 1, 2], { timeout: 20 }))).toEqual([
      0,
      expect.objectContaining({ phase: 'running' }),
      expect.objectContaining({ phase: 'running' }),
    ]);
    expect(signal?.aborted).toBe(true);
    expect(timed.stats()).toMatchObject({ results: 1, errors: 2, running: 0, runningBatches: 1 });

    const limited = queueOf(hang, { runTimeout: 20 });
    expect(await outcomes(limited.submitMany([0, 1]))).toEqual([
      0,
      expect.objectContaining({ phase: 'hanging' }),
    ]);
    expect(signal?.aborted).toBe(true);
    expect(limited.stats()).toMatchObject({ results: 1, errors: 1, running: 0, runningBatches: 0 });
    expect(await limited.submit(0)).toBe(0);

    const stopped = queueOf(hang);
    const ends = outcomes(stopped.submitMany([0, 1]));
    await stopped.stop({ timeout: 20 });
    expect(await ends).toEqual([0, expect.any(ServiceStoppedError)]);
    expect(signal?.aborted).toBe(true);
  });

  it('never reject unhandled: not of callers that have gone, of a run given up, of a wrong number', async () => {
    // In a process of its own: Node ends it after an unhandled rejection.
    const program = `
      import { BatchQueue } from './libs/batching/src/core/batch-queue.js';
      const later = (ms) => new Promise((_, reject) => setTimeout(reject, ms, 'late'));
      const ends = [];
      const run = async (batchFunction, options, more) => {
        const queue = new BatchQueue(batchFunction, { batchSize: 4, maxDelay: 0, ...options });
        for (const end of await Promise.allSettled(queue.submitMany([1, 2], more))) ends.push(end.reason.name ?? end.reason);
      };
      await run((inputs) => inputs.map(() => later(20)), {}, { timeout: 10 });
      await run((inputs) => inputs.map(() => later(20)), { runTimeout: 10 });
      await run(async (inputs) => (await new Promise((resolve) => setTimeout(resolve, 20)), inputs.map(() => later(1))), { runTimeout: 10 });
      await run((inputs) => [...inputs, 3].map(() => later(1)), {});
      await run((inputs) => inputs.map(() => later(1)), {});
      await new Promise((resolve) => setTimeout(resolve, 60));
      console.log(ends.join());`;
    const root = fileURLToPath(new URL('../../../..', import.meta.url));
    const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
    expect(stdout.trim().split(',')).toEqual([
      ...Array<string>(6).fill('BatchTimeoutError'),
      ...Array<string>(2).fill('BatchResultError'),
      'late',
      'late',
    ]);
  }, 20_000);
});

describe('runTimeout', () => {
  it('frees the slot of a batch function that never returns, rejects its callers with a typed error', async () => {
    let calls = 0;
    let signal: AbortSignal | undefined;
    const queue = queueOf(
      (inputs, batch) => {
        signal = batch.signal;
        return ++calls === 1 ? new Promise(() => undefined) : inputs;
      },
      { runTimeout: 20, isolateErrors: true },
    );
    const [error] = await outcomes([queue.submit(1)]);
    expect(error).toBeInstanceOf(BatchTimeoutError);
    expect(error).toMatchObject({ phase: 'hanging', timeout: 20 });
    expect((error as Error).message).toContain('did not return within 20 ms');
    expect(signal?.aborted).toBe(true);
    expect(await queue.submit(2)).toBe(2);
    expect(calls).toBe(2);
  });

  it('ends a batch once: later results are ignored', async () => {
    const queue = queueOf(
      async (inputs) => {
        await setTimeout(30);
        return inputs;
      },
      { runTimeout: 10 },
    );
    const reports: BatchReport[] = [];
    queue.onBatch((report) => reports.push(report));
    expect(await outcomes([queue.submit(1)])).toEqual([expect.any(BatchTimeoutError)]);
    await setTimeout(40);
    expect(reports).toMatchObject([{ size: 1, results: 0, errors: 1 }]);
    expect(queue.stats()).toMatchObject({ results: 0, errors: 1, running: 0 });
  });

  it('does not keep the process alive once the queue has stopped', async () => {
    const timers = jest.spyOn(globalThis, 'setTimeout');
    const queue = queueOf(() => new Promise(() => undefined), { runTimeout: 60_000, maxDelay: 0 });
    const given = outcomes([queue.submit(1)]);
    await until(() => queue.stats().running === 1);
    const limit = timers.mock.results.at(-1)?.value as NodeJS.Timeout;
    expect(limit.hasRef()).toBe(true);
    await queue.stop({ timeout: 0 });
    expect(limit.hasRef()).toBe(false);
    timers.mockRestore();
    await given;
    clearTimeout(limit);
  });

  it('does not affect a run that ends in time, whether it succeeds or fails', async () => {
    const failure = new Error('broken');
    const queue = queueOf(
      async (inputs) => {
        await setTimeout(2);
        if (inputs[0] === 2) throw failure;
        return inputs;
      },
      { runTimeout: 1000, batchSize: 1 },
    );
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, failure, 3]);
  });
});

describe('a timeout that cannot be met', () => {
  it('is refused at once, with a `retryAfter` from recent run times', async () => {
    const queue = queueOf(
      async (inputs) => {
        await setTimeout(30);
        return inputs;
      },
      { batchSize: 1 },
    );
    await queue.submit(0);
    const waiting = queue.submitMany([1, 2, 3]);
    const start = performance.now();
    const refused = await queue.submit(4, { timeout: 50 }).catch((error: unknown) => error);
    expect(performance.now() - start).toBeLessThan(20);
    expect(refused).toBeInstanceOf(DeadlineError);
    expect(refused).toMatchObject({ code: 'ERR_BATCHING_DEADLINE', timeout: 50 });
    expect((refused as DeadlineError).retryAfter).toBeGreaterThan(30);
    expect(await queue.submit(5, { timeout: 5000 })).toBe(5);
    expect(await Promise.all(waiting)).toEqual([1, 2, 3]);
    expect(queue.stats().drops.timeout).toBe(1);
  });

  it('is accepted by an idle queue, which may have become faster', async () => {
    let slow = true;
    const queue = queueOf(async (inputs) => {
      if (slow) await setTimeout(60);
      return inputs;
    });
    await queue.submit(1);
    slow = false;
    expect(await queue.submit(2, { timeout: 30 })).toBe(2);
  });

  it('counts the inputs that leave before it: of its own priority and of higher ones', async () => {
    jest.useFakeTimers();
    try {
      const queue = queueOf(
        async (inputs) => {
          await new Promise((resolve) => globalThis.setTimeout(resolve, 20));
          return inputs;
        },
        { batchSize: 1, maxDelay: 0 },
      );
      void queue.submit(0);
      await jest.advanceTimersByTimeAsync(30);
      void queue.submitMany([1, 2, 3, 4, 5], { priority: 1 });
      const ends = outcomes([
        queue.submit(6, { timeout: 90 }),
        queue.submit(7, { timeout: 90, priority: 1 }),
        queue.submit(8, { timeout: 90, priority: 2 }),
      ]);
      await jest.advanceTimersByTimeAsync(200);
      expect(await ends).toEqual([expect.any(DeadlineError), expect.any(DeadlineError), 8]);
    } finally {
      jest.useRealTimers();
    }
  });

  it('does not count inputs that leave later because of their lower priority', async () => {
    const queue = queueOf(
      async (inputs) => {
        await setTimeout(20);
        return inputs;
      },
      { batchSize: 1 },
    );
    await queue.submit(0);
    const waiting = queue.submitMany([1, 2, 3, 4, 5, 6]);
    expect(await queue.submit(7, { timeout: 90, priority: 1 })).toBe(7);
    void queue.stop({ hard: true });
    const rest = await outcomes(waiting);
    expect(rest.at(-1)).toBeInstanceOf(ServiceStoppedError);
  });
});
