import { AsyncLocalStorage } from 'node:async_hooks';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import DataLoader from 'dataloader';
import {
  asBatchedService,
  type BatchFunction,
  BatchResultError,
  BatchTimeoutError,
  QueueFullError,
  ServiceStoppedError,
  TooManyInputsError,
} from 'nest-batching/core';
import { Batcher } from 'promise-batcher';
import { asAService, batshit, dataLoader, limit, promiseBatcher } from '../docs/examples/coming-from.js';

/** A batch function that doubles, and its batches. */
function doubling() {
  const batches: number[][] = [];
  const double = (inputs: readonly number[]): Promise<number[]> => {
    batches.push([...inputs]);
    return Promise.resolve(inputs.map((input) => 2 * input));
  };
  return { batches, double: double as BatchFunction<number, number> & typeof double };
}

/** A promise, and what resolves it. */
function gate() {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe('DataLoader', () => {
  const both = () => {
    const [ours, theirs] = [doubling(), doubling()];
    const loader = new DataLoader<number, number>(theirs.double);
    return { ours, theirs, load: dataLoader<number, number>(ours.double), loader };
  };

  it('what is loaded together is one batch, each key once', async () => {
    const { ours, theirs, load, loader } = both();
    const keys = [1, 2, 1, 3];
    expect(await Promise.all(keys.map((key) => load(key)))).toEqual([2, 4, 2, 6]);
    expect(await Promise.all(keys.map((key) => loader.load(key)))).toEqual([2, 4, 2, 6]);
    expect([ours.batches, theirs.batches]).toEqual([[[1, 2, 3]], [[1, 2, 3]]]);
  });

  it('nothing is cached', async () => {
    const { ours, theirs, load, loader } = both();
    for (const each of [load, (key: number) => loader.load(key)]) {
      await each(1);
      await each(1);
    }
    expect([ours.batches, theirs.batches]).toEqual([[[1], [1]], [[1]]]);
  });

  it('without coalesce duplicates stay, as with cache: false', async () => {
    const [ours, theirs] = [doubling(), doubling()];
    const load = asBatchedService(Infinity, 0)(ours.double);
    const loader = new DataLoader<number, number>(theirs.double, { cache: false });
    await Promise.all([1, 1].map((key) => load(key)));
    await Promise.all([1, 1].map((key) => loader.load(key)));
    expect([ours.batches, theirs.batches]).toEqual([[[1, 1]], [[1, 1]]]);
  });

  it('a batch does not run in the tick of the call, nor on process.nextTick', async () => {
    const { ours, theirs, load, loader } = both();
    const results = [load(1), loader.load(1)];
    await new Promise<void>((resolve) => {
      process.nextTick(resolve);
    });
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    expect([ours.batches, theirs.batches]).toEqual([[], [[1]]]);
    await Promise.all(results);
  });

  it('a loader that loads from itself needs concurrency', async () => {
    const parents = new Map([
      [3, 2],
      [2, 1],
    ]);
    const rootOf =
      (load: (id: number) => Promise<number>) =>
      (ids: readonly number[]): Promise<number[]> => {
        const roots = ids.map((id) => {
          const parent = parents.get(id);
          return parent === undefined ? Promise.resolve(id) : load(parent);
        });
        return Promise.all(roots);
      };
    const root: (id: number) => Promise<number> = dataLoader((ids) => rootOf(root)(ids));
    expect(await root(3)).toBe(1);

    const withOneSlot = asBatchedService(64, 0);
    const stuck: (id: number) => Promise<number> = withOneSlot((ids: number[]) => rootOf(stuck)(ids));
    expect(await Promise.race([stuck(3), setTimeout(100, 'waits for itself')])).toBe('waits for itself');
  });

  it('loadMany is allSettled over submitMany', async () => {
    const odd = new Error('odd');
    const some = (ids: readonly number[]) => Promise.resolve(ids.map((id) => (id % 2 === 0 ? id : odd)));
    const outcomes = await Promise.allSettled(dataLoader<number, number>(some).submitMany([1, 2]));
    expect(
      outcomes.map((each) => (each.status === 'fulfilled' ? each.value : (each.reason as Error))),
    ).toEqual(await new DataLoader<number, number>(some).loadMany([1, 2]));
  });

  it('not one value per key is an error of its own', async () => {
    const short = () => Promise.resolve([]);
    await expect(dataLoader<number, number>(short)(1)).rejects.toBeInstanceOf(BatchResultError);
    await expect(new DataLoader<number, number>(short).load(1)).rejects.toBeInstanceOf(TypeError);
  });

  it('maxQueued bounds by default', async () => {
    const { double } = doubling();
    const load = asBatchedService(64, 0)(double);
    const tooMany = await Promise.allSettled(load.submitMany(Array.from({ length: 10_001 }, (_, id) => id)));
    expect(
      tooMany.every((each) => each.status === 'rejected' && each.reason instanceof TooManyInputsError),
    ).toBe(true);
    const calls = await Promise.allSettled(Array.from({ length: 10_001 }, (_, id) => load(id)));
    expect(
      calls.filter((each) => each.status === 'rejected' && each.reason instanceof QueueFullError),
    ).toHaveLength(1);
    const unbounded = dataLoader<number, number>(double);
    expect(await Promise.all(Array.from({ length: 10_001 }, (_, id) => unbounded(id)))).toHaveLength(10_001);
  });
});

describe('p-limit and p-queue', () => {
  it('runs so many functions at the same time', async () => {
    const run = limit(2);
    const { opened, open } = gate();
    let [running, most] = [0, 0];
    const task = async () => {
      most = Math.max(most, ++running);
      await opened;
      running--;
      return 'done';
    };
    const all = Promise.all([1, 2, 3, 4].map(() => run(task)));
    while (running < 2) await setImmediate();
    expect(run.queue.stats()).toMatchObject({ running: 2, waiting: 2 }); // activeCount, pendingCount
    open();
    expect(await all).toEqual(['done', 'done', 'done', 'done']);
    expect(most).toBe(2);
  });

  it('a function that fails, also at once, fails its own call', async () => {
    const run = limit(2);
    const failure = new Error('failed');
    const results = await Promise.allSettled([
      run(() => Promise.reject(failure)),
      run(() => {
        throw failure;
      }),
      run(() => Promise.resolve(1)),
    ]);
    expect(results).toEqual([
      { status: 'rejected', reason: failure },
      { status: 'rejected', reason: failure },
      { status: 'fulfilled', value: 1 },
    ]);
  });

  it('a function does not run in the context of its caller', async () => {
    const als = new AsyncLocalStorage<string>();
    const run = limit(1);
    expect(await als.run('request', () => run(() => Promise.resolve(als.getStore())))).toBeUndefined();
  });

  it('stop({ hard: true }) rejects what waits, where clearQueue() leaves it pending', async () => {
    const run = limit(1);
    const { opened, open } = gate();
    const first = run(() => opened);
    const second = run(() => Promise.resolve());
    await setImmediate();
    const stopped = run.stop({ hard: true });
    await expect(second).rejects.toBeInstanceOf(ServiceStoppedError);
    open();
    await Promise.all([first, stopped]);
  });

  it('settings apply to what already waits', async () => {
    const run = limit(1);
    const { opened, open } = gate();
    const all = [1, 2, 3].map(() => run(() => opened));
    while (run.queue.stats().running < 1) await setImmediate();
    run.queue.concurrency = 3;
    while (run.queue.stats().running < 3) await setImmediate();
    open();
    await Promise.all(all);
  });

  it('a high aging makes priorities strict', async () => {
    const order: string[] = [];
    const run = asBatchedService(1, 0, { aging: 1e12, autoStart: false })((names: string[]) => {
      order.push(...names);
      return names;
    });
    const early = run('early');
    await setTimeout(5);
    const late = run('late', { priority: 0.001 });
    run.start();
    await Promise.all([early, late]);
    expect(order).toEqual(['late', 'early']);
  });

  it('timeout counts from the call, runTimeout from the run', async () => {
    const { opened, open } = gate();
    const run = asBatchedService(1, 0, { maxQueued: 0 })(async (tasks: string[]) => {
      await opened;
      return tasks;
    });
    const first = run('first');
    while (run.queue.stats().running < 1) await setImmediate();
    await expect(run('waits', { timeout: 10 })).rejects.toBeInstanceOf(BatchTimeoutError);
    open();
    expect(await first).toBe('first');
    const limited = asBatchedService(1, 0, { runTimeout: 10 })(() => new Promise<string[]>(() => undefined));
    await expect(limited('runs')).rejects.toBeInstanceOf(BatchTimeoutError);
  });

  it('a call that is aborted while it runs keeps its slot until the function has ended', async () => {
    const run = limit(1);
    const { opened, open } = gate();
    const caller = new AbortController();
    const first = run(() => opened, { signal: caller.signal });
    const second = run(() => Promise.resolve('second'));
    while (run.queue.stats().running < 1) await setImmediate();
    caller.abort('gone');
    await expect(first).rejects.toBe('gone');
    await setImmediate();
    expect(run.queue.stats()).toMatchObject({ runningBatches: 1, waiting: 1 });
    open();
    expect(await second).toBe('second');
  });
});

describe('promise-batcher', () => {
  it('batches of so many, each with a slot of its own', async () => {
    const [ours, theirs] = [doubling(), doubling()];
    const batcher = new Batcher({ batchingFunction: theirs.double, maxBatchSize: 2 });
    const call = promiseBatcher(ours.double, 2);
    const inputs = [1, 2, 3, 4, 5];
    expect(await Promise.all(inputs.map((input) => call(input)))).toEqual(
      await Promise.all(inputs.map((input) => batcher.getResult(input))),
    );
    expect(ours.batches).toEqual(theirs.batches);
  });

  it('drain() sends off what waits, and is no batch boundary', async () => {
    const { batches, double } = doubling();
    const call = promiseBatcher(double, 8, 60_000);
    const results = [call(1)];
    const drained = call.drain();
    results.push(call(2));
    await drained;
    expect(batches).toEqual([[1, 2]]);
    expect(await Promise.all(results)).toEqual([2, 4]);

    const theirs = doubling();
    const batcher = new Batcher({ batchingFunction: theirs.double, queuingDelay: 1 });
    const theirResults = [batcher.getResult(1)];
    batcher.send();
    theirResults.push(batcher.getResult(2));
    await Promise.all(theirResults);
    expect(theirs.batches).toEqual([[1], [2]]);
  });

  it('maxDelay counts from the submission, also while all slots are busy', async () => {
    const batches: number[][] = [];
    const first = gate();
    const call = asBatchedService(8, 1000, { dispatch: 'fixed' })(async (inputs: number[]) => {
      batches.push([...inputs]);
      if (batches.length === 1) await first.opened;
      return inputs;
    });
    const results = [call(1)];
    void call.drain();
    while (batches.length === 0) await setImmediate();
    results.push(call(2));
    await setTimeout(1050); // its delay passes while it waits for the slot
    first.open();
    await results[0];
    const freed = performance.now();
    await results[1];
    expect(performance.now() - freed).toBeLessThan(900);
    expect(batches).toEqual([[1], [2]]);
  });
});

describe('batshit', () => {
  const found = (ids: number[]) =>
    Promise.resolve(new Map(ids.filter((id) => id < 10).map((id) => [id, `item ${id}`])));

  it('a query once per batch, its item by key, and undefined where there is none', async () => {
    const batches: number[][] = [];
    const fetch = batshit<number, string | undefined>((ids) => {
      batches.push([...ids]);
      return found(ids);
    });
    expect(await Promise.all([1, 2, 1, 11].map((id) => fetch(id)))).toEqual([
      'item 1',
      'item 2',
      'item 1',
      undefined,
    ]);
    expect(batches).toEqual([[1, 2, 11]]);
  });

  it('a query also joins the same one that already runs; without coalesce it does not', async () => {
    for (const [coalesce, expected] of [
      [true, [[1]]],
      [false, [[1], [1]]],
    ] as const) {
      const { opened, open } = gate();
      const batches: number[][] = [];
      const fetch = asBatchedService(Infinity, 0, {
        concurrency: Infinity,
        keyBy: (id: number) => id,
        coalesce,
      })(async (ids: number[]) => {
        batches.push([...ids]);
        await opened;
        return found(ids);
      });
      const first = fetch(1);
      while (batches.length === 0) await setImmediate();
      const second = fetch(1);
      while (!coalesce && batches.length < 2) await setImmediate();
      open();
      await Promise.all([first, second]);
      expect(batches).toEqual(expected);
    }
  });

  it('with maxDelay: Infinity only full batches leave', async () => {
    const { batches, double } = doubling();
    const fetch = asBatchedService(2, Infinity, { dispatch: 'fixed' })(double);
    const results = [1, 2, 3].map((id) => fetch(id));
    await Promise.all(results.slice(0, 2));
    expect(await Promise.race([results[2], setTimeout(30, 'waits')])).toBe('waits');
    await fetch(4);
    expect(batches).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });
});

describe('as_a_service', () => {
  it('ten inputs in batches of three, and the results in order', async () => {
    const { batches, double } = doubling();
    const service = asAService(double, 3, 100);
    expect(await Promise.all(service.submitMany([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))).toEqual([
      0, 2, 4, 6, 8, 10, 12, 14, 16, 18,
    ]);
    expect(batches).toEqual([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]);
    await service.stop();
  });

  it('the default does not wait to fill', async () => {
    const of = (dispatch: 'adaptive' | 'fixed') =>
      asBatchedService(3, 60_000, { dispatch })(doubling().double);
    expect(await of('adaptive')(1)).toBe(2);
    const service = of('fixed');
    const result = service(1);
    expect(await Promise.race([result, setTimeout(50, 'waits')])).toBe('waits');
    await service.stop();
    expect(await result).toBe(2);
  });
});
