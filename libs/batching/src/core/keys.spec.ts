import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it, jest } from '@jest/globals';
import { BatchQueue } from './batch-queue.js';
import type { KeyedBatchFunction } from './batch-function.js';
import { BatchingError, BatchResultError, BatchTimeoutError, MissingResultError } from './errors.js';
import type { BatchOptions } from './options.js';
import { asBatchedService } from './service.js';

interface Query {
  readonly id: string;
}

function queueOf(
  batchFunction: KeyedBatchFunction<Query, string | undefined>,
  options: Partial<BatchOptions<Query>> = {},
) {
  return new BatchQueue<Query, string | undefined>(batchFunction, {
    name: 'users',
    batchSize: 8,
    maxDelay: 1,
    keyBy: ({ id }: Query) => id,
    ...options,
  });
}

const queries = (...ids: string[]): Query[] => ids.map((id) => ({ id }));

async function outcomes(promises: Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((one): unknown => (one.status === 'fulfilled' ? one.value : one.reason));
}

/** Answers for the ids that it knows, in an order of its own. */
const lookup = (known: Record<string, string>) => () => new Map(Object.entries(known).reverse());

describe('a batch function of a queue with keyBy', () => {
  it('may return a Map from keys to results, in any order and with more than was asked', async () => {
    const queue = queueOf(lookup({ a: 'Ada', b: 'Bob', z: 'Zoe' }));
    expect(await outcomes(queue.submitMany(queries('b', 'a', 'b')))).toEqual(['Bob', 'Ada', 'Bob']);
    expect(queue.stats()).toMatchObject({ results: 3, errors: 0, coalesced: 0, batchSizes: { max: 3 } });
  });

  it('may still return an array', async () => {
    const queue = queueOf((inputs) => inputs.map(({ id }) => id.toUpperCase()));
    expect(await outcomes(queue.submitMany(queries('b', 'a')))).toEqual(['B', 'A']);
  });

  it('compares keys as a Map does', async () => {
    const queue = new BatchQueue<number, string>(
      () =>
        new Map([
          [NaN, 'none'],
          [0, 'zero'],
        ]),
      {
        batchSize: 8,
        maxDelay: 1,
        keyBy: (input) => input,
      },
    );
    expect(await outcomes(queue.submitMany([-0, NaN]))).toEqual(['zero', 'none']);
    expect(await outcomes([queue.submit(1)])).toEqual([expect.any(MissingResultError)]);
  });

  it('rejects the callers of a missing key alone', async () => {
    const queue = queueOf(lookup({ a: 'Ada' }));
    const [known, missing] = await outcomes(queue.submitMany(queries('a', 'secret')));
    expect(known).toBe('Ada');
    expect(missing).toBeInstanceOf(MissingResultError);
    expect(missing).toBeInstanceOf(BatchingError);
    expect(missing).toMatchObject({
      code: 'ERR_BATCHING_MISSING',
      kind: 'missing',
      queue: 'users',
      key: 'secret',
      message: 'users has no result for the key of this input',
    });
    // A key may be personal, and errors are logged.
    expect(Object.values(missing as object)).not.toContain('secret');
    expect(queue.stats()).toMatchObject({ results: 1, errors: 1 });
  });

  it('gives undefined for a missing key with `missing: undefined`', async () => {
    const queue = queueOf(lookup({ a: 'Ada' }), { missing: 'undefined' });
    expect(await outcomes(queue.submitMany(queries('b', 'a')))).toEqual([undefined, 'Ada']);
    expect(queue.stats()).toMatchObject({ results: 2, errors: 0 });
  });

  it('takes a key whose value is undefined for one that is there', async () => {
    const queue = queueOf(() => new Map([['a', undefined]]));
    expect(await outcomes([queue.submit({ id: 'a' })])).toEqual([undefined]);
  });

  it('rejects with an Error in the Map, and waits for a promise in it', async () => {
    const error = new Error('locked');
    const queue = queueOf(() => {
      return new Map<string, string | Error | Promise<string>>([
        ['c', Promise.reject(error)],
        ['b', Promise.resolve('Bob')],
        ['a', error],
      ]);
    });
    expect(await outcomes(queue.submitMany(queries('a', 'b', 'c')))).toEqual([error, 'Bob', error]);
  });

  it('leaves no promise unhandled that no caller asked for', async () => {
    // In a process of its own: Node ends it after an unhandled rejection.
    const program = `
      import { BatchQueue } from './libs/batching/src/core/batch-queue.js';
      const answer = () => new Map([['a', 'Ada'], ['b', Promise.reject(new Error('late'))]]);
      const queue = new BatchQueue(answer, { batchSize: 4, maxDelay: 0, keyBy: (input) => input });
      const result = await queue.submit('a');
      await new Promise((resolve) => setTimeout(resolve, 10));
      console.log(result);`;
    const root = fileURLToPath(new URL('../../../..', import.meta.url));
    const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
    expect(stdout.trim()).toBe('Ada');
  }, 20_000);

  it('is searched for the inputs at fault, whose parts have keys of their own', async () => {
    const run = jest.fn((inputs: Query[]) => {
      if (inputs.some(({ id }) => id === 'bad')) throw new Error('bad');
      return new Map(inputs.map(({ id }) => [id, `of ${id}`]));
    });
    const queue = queueOf(run, { isolateErrors: true });
    const ids = ['a', 'b', 'c', 'bad', 'd'];
    const expected = ['of a', 'of b', 'of c', new Error('bad'), 'of d'];
    expect(await outcomes(queue.submitMany(queries(...ids)))).toEqual(expected);
    expect(run.mock.calls.length).toBeGreaterThan(2);
  });

  it('has its time limit with a Map, too', async () => {
    const hanging = new Promise<string>(() => undefined);
    const queue = queueOf(
      () =>
        new Map<string, string | Promise<string>>([
          ['a', 'Ada'],
          ['b', hanging],
        ]),
      { runTimeout: 5 },
    );
    expect(await outcomes(queue.submitMany(queries('a', 'b')))).toEqual([
      'Ada',
      expect.any(BatchTimeoutError),
    ]);
  });

  it('must not return anything else', async () => {
    const queue = queueOf(() => new Set(['a']) as unknown as string[]);
    expect(await outcomes([queue.submit({ id: 'a' })])).toEqual([expect.any(BatchResultError)]);
  });
});

describe('keyBy', () => {
  it('is asked once for each input, when it comes', async () => {
    const keyBy = jest.fn(({ id }: Query) => id);
    const queue = queueOf(
      (inputs) => {
        const results = new Map(inputs.map(({ id }) => [id, id]));
        // What the function does to its inputs does not matter.
        for (const input of inputs.splice(0)) Object.assign(input, { id: 'other' });
        return results;
      },
      { keyBy, autoStart: false },
    );
    const results = queue.submitMany(queries('a', 'b'));
    expect(keyBy.mock.calls).toHaveLength(2);
    await queue.stop();
    expect(await outcomes(results)).toEqual(['a', 'b']);
    expect(keyBy.mock.calls).toHaveLength(2);
  });

  it.each<[string, (input: Query) => unknown, unknown]>([
    [
      'what it throws',
      () => {
        throw new RangeError('no id');
      },
      new RangeError('no id'),
    ],
    [
      'a TypeError for a promise',
      () => Promise.reject(new Error('never seen')),
      new TypeError('keyBy: expected a key, got a Promise; it must not be async'),
    ],
  ])('rejects its input alone with %s', async (_, broken, error) => {
    const queue = queueOf(lookup({ a: 'Ada' }), {
      keyBy: (input: Query) => (input.id === 'broken' ? broken(input) : input.id),
    });
    expect(await outcomes(queue.submitMany(queries('a', 'broken')))).toEqual(['Ada', error]);
    // Like a groupBy that throws: counted nowhere.
    expect(queue.stats()).toMatchObject({ submitted: 1, results: 1, errors: 0, dropped: 0 });
  });

  it('may abort its own input, or stop the queue', async () => {
    const caller = new AbortController();
    const queue = queueOf(lookup({ a: 'Ada' }), {
      keyBy: ({ id }: Query) => {
        if (id === 'abort') caller.abort(new Error('gone'));
        if (id === 'stop') void queue.stop();
        return id;
      },
    });
    const aborted = queue.submit({ id: 'abort' }, { signal: caller.signal });
    const stopped = queue.submit({ id: 'stop' });
    expect((await outcomes([aborted, stopped])).map(String)).toEqual([
      'Error: gone',
      'ServiceStoppedError: users was stopped and takes no more inputs',
    ]);
    expect(queue.stats()).toMatchObject({ submitted: 2, dropped: 2, waiting: 0 });
  });

  it('does not need options of the caller, nor is it in their way', async () => {
    const queue = queueOf(lookup({ a: 'Ada', b: 'Bob' }));
    const results = [
      queue.submit({ id: 'b' }, { priority: 1, tenant: 'x', timeout: 100 }),
      queue.submit({ id: 'a' }),
    ];
    expect(await outcomes(results)).toEqual(['Bob', 'Ada']);
  });
});

describe('the options of keys', () => {
  const build = (options: object) => () =>
    new BatchQueue(() => [], { batchSize: 1, maxDelay: 1, ...options });

  it('are checked', () => {
    expect(build({ keyBy: 'id' })).toThrow(new TypeError("keyBy: expected a function, got 'id'"));
    expect(build({ missing: 'null' })).toThrow(
      new RangeError("missing: expected 'reject' or 'undefined', got 'null'"),
    );
    expect(build({ coalesce: 1, keyBy: () => 1 })).toThrow(
      new TypeError('coalesce: expected a boolean, got 1'),
    );
    expect(build({ coalesce: true })).toThrow(
      new TypeError(
        'coalesce: expected a keyBy beside it, which says what inputs are the same; there is none',
      ),
    );
    expect(build({ coalesce: false })).not.toThrow();
  });
});

describe('asBatchedService', () => {
  it('takes a batch function that returns a Map, with keyBy', async () => {
    const squares = asBatchedService(8, 1, { keyBy: (x) => x, missing: 'undefined' })(
      (inputs: number[]) => new Map(inputs.filter((x) => x > 0).map((x) => [x, x * x])),
    );
    expect(await outcomes(squares.submitMany([3, -1]))).toEqual([9, undefined]);
    await squares.stop();
  });
});
