import { setImmediate, setInterval, setTimeout } from 'node:timers/promises';
import { describe, expect, it, jest } from '@jest/globals';
import type { BatchContext } from './batch.js';
import { BatchQueue } from './batch-queue.js';
import { BatchResultError, BatchTimeoutError } from './errors.js';
import type { BatchFunction, BatchOptions } from './options.js';

/** Faults of other batchers (see their names) and of users' batch functions: nobody hangs, nobody else suffers. */

const options: BatchOptions = { batchSize: 3, maxDelay: 1 };

function queueOf<Result>(
  batchFunction: unknown,
  more: Partial<BatchOptions> = {},
): BatchQueue<number, Result> {
  return new BatchQueue(batchFunction as BatchFunction<number, Result>, { ...options, ...more });
}

async function outcomes(promises: Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((one): unknown => (one.status === 'fulfilled' ? one.value : one.reason));
}

function expectBalance(queue: Pick<BatchQueue<never, unknown>, 'stats'>): void {
  const { submitted, settled, dropped, waiting, running } = queue.stats();
  expect(settled + dropped + waiting + running).toBe(submitted);
}

describe('a batch function that', () => {
  const failure = new Error('broken');

  it.each<[string, unknown]>([
    [
      'throws',
      () => {
        throw failure;
      },
    ],
    ['rejects', () => Promise.reject(failure)],
    [
      'throws later',
      async () => {
        await setTimeout(2);
        throw failure;
      },
    ],
  ])('%s: every caller of the batch gets that very error, and the next batch runs', async (_, broken) => {
    const fail = jest.fn(broken as BatchFunction<number, number>);
    const queue = queueOf<number>((inputs: number[], batch: BatchContext) =>
      inputs.includes(0) ? fail(inputs, batch) : inputs,
    );
    expect(await outcomes(queue.submitMany([0, 1, 2]))).toEqual([failure, failure, failure]);
    expect(await outcomes(queue.submitMany([3, 4, 5]))).toEqual([3, 4, 5]);
    expectBalance(queue);
  });

  it('throws something that is no error: it reaches the callers as it is', async () => {
    const queue = queueOf(() => Promise.reject('a string')); // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
    expect(await outcomes(queue.submitMany([1, 2]))).toEqual(['a string', 'a string']);
  });

  it.each<[string, unknown, string]>([
    ['too few results', [1, 2], '2 results'],
    ['too many results', [1, 2, 3, 4], '4 results'],
    ['nothing', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a string of the right length', 'abc', "'abc'"],
    ['an object with a length', { length: 3 }, 'an Object'],
    ['a typed array', new Float32Array(3), 'a Float32Array'],
    ['a Map', new Map(), 'a Map'],
  ])('returns %s: a BatchResultError that says so (DataLoader)', async (_, returned, received) => {
    for (const value of [returned, Promise.resolve(returned)]) {
      const queue = queueOf(() => value);
      const [first, ...others] = await outcomes(queue.submitMany([1, 2, 3]));
      expect(first).toBeInstanceOf(BatchResultError);
      expect(first).toMatchObject({ code: 'ERR_BATCHING_RESULT', expected: 3, received });
      expect(others).toEqual([first, first]);
      expectBalance(queue);
    }
  });

  it('returns the same promise twice: its results are those of one batch only if they fit', async () => {
    const once = Promise.resolve([1, 2]);
    const queue = queueOf(() => once, { batchSize: 2 });
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, 2, expect.any(BatchResultError)]);
  });

  it('returns an Error in a place: that caller alone gets it (DataLoader; Ray hands it over as a value)', async () => {
    const queue = queueOf((inputs: number[]) => inputs.map((input) => (input === 2 ? failure : input)));
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, failure, 3]);
    expect(queue.stats()).toMatchObject({ results: 2, errors: 1 });
  });

  it('returns results with a getter that throws: those before it keep theirs, nobody hangs', async () => {
    const queue = queueOf((inputs: number[]) =>
      Object.defineProperty([...inputs], 1, {
        get: () => {
          throw failure;
        },
      }),
    );
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, failure, failure]);
    expectBalance(queue);
  });

  it('empties its inputs: the results still find their callers', async () => {
    const queue = queueOf((inputs: number[]) => inputs.splice(0).map((input) => input + 1));
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([2, 3, 4]);
    expectBalance(queue);
  });

  it('never returns: callers with a timeout do not hang, and other slots go on', async () => {
    const queue = queueOf<number>(
      (inputs: number[]) => (inputs[0] === 0 ? new Promise(() => undefined) : inputs),
      {
        batchSize: 1,
        concurrency: 2,
      },
    );
    const stuck = queue.submit(0, { timeout: 20 });
    expect(await queue.submit(1)).toBe(1);
    await expect(stuck).rejects.toBeInstanceOf(BatchTimeoutError);
    expectBalance(queue);
  });

  it('calls its own queue: the inner input waits for a slot of its own', async () => {
    const queue: BatchQueue<number, number> = queueOf(
      (inputs: number[]) =>
        Promise.all(inputs.map(async (input) => (input > 0 ? queue.submit(input - 1) : 0))),
      { concurrency: 4 },
    );
    expect(await queue.submit(3)).toBe(0);
  });
});

describe('callers', () => {
  it('who abort do not stop the loop, nor are they computed (ray#41057, triton server#6920)', async () => {
    const computed: number[] = [];
    const queue = queueOf<number>(async (inputs: number[]) => {
      computed.push(...inputs);
      await setTimeout(5);
      return inputs;
    });
    const first = queue.submitMany([1, 2, 3]);
    const controller = new AbortController();
    const gone = queue.submitMany([4, 5, 6, 7], { signal: controller.signal });
    const last = queue.submit(8);
    controller.abort(new Error('closed'));
    expect((await outcomes(gone)).map(String)).toEqual(Array(4).fill('Error: closed'));
    expect(await outcomes([...first, last])).toEqual([1, 2, 3, 8]);
    expect(computed).toEqual([1, 2, 3, 8]);
    expectBalance(queue);
  });

  it('who submit from within a continuation of a batch are served', async () => {
    const queue = queueOf<number>((inputs: number[]) => inputs);
    const chain = async (left: number): Promise<number> =>
      left === 0 ? 0 : chain((await queue.submit(left)) - 1);
    expect(await Promise.all([chain(20), chain(20), chain(20)])).toEqual([0, 0, 0]);
  });

  it('who come and go in one turn do not stop an adaptive queue', async () => {
    const queue = queueOf<number>((inputs: number[]) => inputs, { dispatch: 'adaptive' });
    const controller = new AbortController();
    const gone = queue.submit(1, { signal: controller.signal });
    controller.abort(new Error('gone'));
    await expect(gone).rejects.toThrow('gone');
    expect(await queue.submit(2)).toBe(2);
    expectBalance(queue);
  });

  it('who abort in the handler of another result are dropped before the next batch', async () => {
    const queue = queueOf<number>((inputs: number[]) => inputs, { batchSize: 1 });
    const controller = new AbortController();
    const second = queue.submit(1).then(() => {
      controller.abort(new Error('enough'));
    });
    const third = queue.submit(2, { signal: controller.signal });
    await second;
    await expect(third).rejects.toThrow('enough');
    expectBalance(queue);
  });
});

describe('scheduling', () => {
  it('a full batch does not wait out its window (batshit, @expo/batcher)', async () => {
    const queue = queueOf<number>((inputs: number[]) => inputs, { maxDelay: 60_000 });
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, 2, 3]);
  });

  it('the delay is not paid again after every batch (TorchServe, mosec#382)', async () => {
    const sizes: number[] = [];
    const queue = queueOf<number>(
      async (inputs: number[]) => {
        sizes.push(inputs.length);
        await setTimeout(60);
        return inputs;
      },
      { batchSize: 2, maxDelay: 40 },
    );
    const first = queue.submitMany([1, 2]);
    await setTimeout(5);
    const late = queue.submit(3);
    await outcomes(first);
    // It waited longer than maxDelay for its slot already.
    await setImmediate();
    await setImmediate();
    expect(queue.stats()).toMatchObject({ running: 1, waiting: 0 });
    expect(await late).toBe(3);
    expect(sizes).toEqual([2, 1]);
  });

  it('batches are not closed while the slot is busy (Ray: under-full batches, ray#43288)', async () => {
    const sizes: number[] = [];
    const queue = queueOf<number>(
      async (inputs: number[]) => {
        sizes.push(inputs.length);
        await setTimeout(30);
        return inputs;
      },
      { batchSize: 8 },
    );
    const all: Promise<number>[] = [];
    for (let input = 0; input < 9; input++) {
      all.push(queue.submit(input));
      await setTimeout(3);
    }
    await outcomes(all);
    expect(sizes[0]).toBeLessThan(4);
    expect(sizes).toHaveLength(2);
  });

  it('a batch function that blocks does not keep what comes in meanwhile from travelling together', async () => {
    const sizes: number[] = [];
    const queue = queueOf<number>(
      (inputs: number[]) => {
        sizes.push(inputs.length);
        const end = performance.now() + 20;
        while (performance.now() < end);
        return inputs;
      },
      { batchSize: 32, dispatch: 'eager' },
    );
    // Timers that come due while the loop is blocked stand for requests that arrive meanwhile.
    const caller = async (delay: number) => {
      await setTimeout(delay);
      return queue.submit(delay);
    };
    await Promise.all([1, 5, 6, 7, 8, 9, 10].map(caller));
    expect(sizes[0]).toBeLessThan(7);
    expect(sizes).toHaveLength(2);
  });

  it('a long backlog does not starve the event loop', async () => {
    const queue = queueOf<number>((inputs: number[]) => inputs, { batchSize: 1, maxQueued: 0 });
    let turns = 0;
    const counting = new AbortController();
    void (async () => {
      for await (const one of setInterval(0, 1, { signal: counting.signal })) turns += one;
    })().catch(() => undefined);
    await outcomes(queue.submitMany(Array.from({ length: 50_000 }, (_, index) => index)));
    counting.abort();
    expect(turns).toBeGreaterThan(10);
  });
});

describe('observers', () => {
  it('that throw hurt nobody and are told by a warning', async () => {
    const queue = queueOf<number>((inputs: number[]) => inputs);
    const warnings: string[] = [];
    const warn = jest
      .spyOn(process, 'emitWarning')
      .mockImplementation((text) => void warnings.push(String(text)));
    const others = jest.fn();
    queue.onBatch(() => {
      throw new Error('bad observer');
    });
    queue.onBatch(others);
    expect(await outcomes(queue.submitMany([1, 2, 3, 4]))).toEqual([1, 2, 3, 4]);
    await setImmediate();
    warn.mockRestore();
    expect(others).toHaveBeenCalledTimes(2);
    expect(warnings[0]).toContain('bad observer');
  });
});

describe('many inputs', () => {
  it('of mixed outcomes leave nothing behind', async () => {
    const queue = queueOf<number>(
      (inputs: number[]) => {
        if (inputs[0] === 13) throw new Error('unlucky');
        return inputs.map((input) => (input % 7 === 0 ? new Error('seven') : input));
      },
      { batchSize: 16, maxQueued: 0 },
    );
    const controller = new AbortController();
    const all = Array.from({ length: 20_000 }, (_, input) =>
      queue.submit(input, input % 5 === 0 ? { signal: controller.signal } : undefined),
    );
    controller.abort();
    await outcomes(all);
    const stats = queue.stats();
    expect(stats).toMatchObject({ submitted: 20_000, waiting: 0, running: 0, dropped: 4000 });
    expect(stats.settled).toBe(16_000);
  });
});
