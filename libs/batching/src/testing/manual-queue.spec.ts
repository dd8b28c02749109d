import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { ManualQueue } from './manual-queue.js';
import { assertBatches } from './recorded-batches.js';

const square = (inputs: number[]) => inputs.map((input) => input * input);

/** Longer than anything that has a clock would wait. */
const afterAWhile = () => new Promise((resolve) => setTimeout(resolve, 20));

afterEach(() => {
  jest.useRealTimers();
});

describe('a ManualQueue', () => {
  it('sends nothing off until the test dispatches', async () => {
    const queue = new ManualQueue(square, { batchSize: 2 });
    const results = queue.submitMany([1, 2, 3]);
    await afterAWhile();
    expect(queue.batches).toEqual([]);
    expect(queue.stats()).toMatchObject({ waiting: 3, batches: 0 });
    expect(await queue.dispatch()).toEqual([
      { inputs: [1, 2], size: 2, reason: 'size' },
      { inputs: [3], size: 1, reason: 'drain' },
    ]);
    expect(await Promise.all(results)).toEqual([1, 4, 9]);
    assertBatches(queue.batches, [[1, 2], [3]]);
  });

  it('may be dispatched again and again, and with nothing that waits', async () => {
    const queue = new ManualQueue(square);
    expect(await queue.dispatch()).toEqual([]);
    for (const input of [1, 2]) {
      const result = queue.submit(input);
      expect(await queue.dispatch()).toMatchObject([{ inputs: [input] }]);
      expect(await result).toBe(input * input);
    }
    const late = queue.submit(3);
    await afterAWhile();
    expect(queue.batches).toHaveLength(2);
    await Promise.all([queue.dispatch(), queue.dispatch()]);
    expect(await late).toBe(9);
  });

  it('waits for inputs that come later, as after an await', async () => {
    const queue = new ManualQueue(square);
    const results = [1, 2, 3].map(async (input) => {
      for (let tick = 0; tick < 10 * input; tick++) await Promise.resolve();
      return queue.submit(input);
    });
    expect(await queue.dispatch(3)).toMatchObject([{ inputs: [1, 2, 3] }]);
    expect(await Promise.all(results)).toEqual([1, 4, 9]);
  });

  it('works the same under fake timers, and runs functions that take time', async () => {
    const wait = setTimeout;
    jest.useFakeTimers();
    const queue = new ManualQueue(
      async (inputs: number[]) => {
        await new Promise((resolve) => wait(resolve, 5));
        return square(inputs);
      },
      { concurrency: 2, batchSize: 1 },
    );
    const results = queue.submitMany([1, 2, 3]);
    await queue.dispatch();
    expect(await Promise.all(results)).toEqual([1, 4, 9]);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('has the bounds, groups, keys and errors of a queue', async () => {
    const queue = new ManualQueue<number, number>(
      (inputs) => new Map(inputs.map((input) => [input, -input])),
      {
        keyBy: (input) => input,
        coalesce: true,
        groupBy: (input) => input % 2,
        maxQueued: 3,
        name: 'signs',
      },
    );
    const results = queue.submitMany([1, 2, 3]);
    results.push(queue.submit(1));
    await expect(queue.submit(5)).rejects.toThrow('signs is full');
    await queue.dispatch();
    expect(await Promise.all(results)).toEqual([-1, -2, -3, -1]);
    assertBatches(queue.batches, [[1, 3], [2]]);
  });

  it('records inputs as they were before the function changed its array', async () => {
    const queue = new ManualQueue((inputs: number[]) => inputs.splice(0));
    const results = queue.submitMany([1, 2]);
    await queue.dispatch();
    expect(await Promise.all(results)).toEqual([1, 2]);
    assertBatches(queue.batches, [[1, 2]]);
  });

  it('records parts of a batch that isolateErrors runs again', async () => {
    const queue = new ManualQueue(
      (inputs: number[]) => {
        if (inputs.includes(2)) throw new Error('two');
        return inputs;
      },
      { isolateErrors: true },
    );
    const results = Promise.allSettled(queue.submitMany([1, 2]));
    expect(await queue.dispatch()).toEqual([
      { inputs: [1, 2], size: 2, reason: 'drain' },
      { inputs: [1], size: 1, reason: undefined },
      { inputs: [2], size: 1, reason: undefined },
    ]);
    expect(await results).toMatchObject([{ value: 1 }, { reason: new Error('two') }]);
  });

  it('lets time pass on `advance`, and only then', async () => {
    const queue = new ManualQueue(() => new Promise<number[]>(() => undefined), {
      runTimeout: 1000,
      batchSize: 1,
    });
    const [running, waiting, patient] = [
      queue.submit(1),
      queue.submit(2, { timeout: 10 }),
      queue.submit(3, { timeout: 5000 }),
    ].map((result) => result.catch((error: unknown) => error));
    const dispatched = queue.dispatch();
    await afterAWhile();
    expect(queue.batches).toHaveLength(1);
    queue.advance(10);
    expect(await waiting).toMatchObject({ phase: 'waiting', timeout: 10 });
    queue.advance(989);
    await afterAWhile();
    expect(queue.batches).toHaveLength(1);
    queue.advance(1);
    expect(await running).toMatchObject({ phase: 'hanging', timeout: 1000 });
    await afterAWhile();
    expect(queue.batches).toHaveLength(2);
    queue.advance(1000);
    expect(await patient).toMatchObject({ phase: 'hanging' });
    await dispatched;
    expect(() => {
      queue.advance(-1);
    }).toThrow('ms: expected milliseconds ≥ 0, got -1');
  });

  it('stops as a queue does', async () => {
    const queue = new ManualQueue(square);
    const result = queue.submit(3);
    await queue.stop();
    expect(await result).toBe(9);
    await expect(queue.submit(4)).rejects.toThrow('was stopped');
  });

  it('checks its options', () => {
    expect(() => new ManualQueue(square, { batchSize: 0 })).toThrow('batchSize: expected an integer ≥ 1');
    expect(() => new ManualQueue(3 as unknown as typeof square)).toThrow(
      'batchFunction: expected a function, got 3',
    );
  });
});

describe('assertBatches', () => {
  it('says what ran, and what was expected', () => {
    const batches = [{ inputs: [1, 2], size: 2, reason: undefined }];
    expect(() => {
      assertBatches(batches, [[1], [2]]);
    }).toThrow(expect.objectContaining({ actual: [[1, 2]], expected: [[1], [2]] }));
  });
});
