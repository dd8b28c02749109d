import { describe, expect, it, jest } from '@jest/globals';
import { BatchInvariantError, expectBatchInvariant } from './batch-invariant.js';

/** What it rejects with. */
async function failure(
  ...args: Parameters<typeof expectBatchInvariant<number[], unknown>>
): Promise<BatchInvariantError> {
  try {
    await expectBatchInvariant(...args);
  } catch (error) {
    return error as BatchInvariantError;
  }
  throw new Error('expectBatchInvariant found nothing');
}

/** Sequences of different lengths: a model that has to pad them. */
const sequences = [[1], [2, 3], [4, 5, 6], [7, 8, 9, 10], [3, 1], [2, 2, 2, 2, 2, 2]];

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** Pads the sequences of a batch to its longest, and then averages them with or without a mask. */
const averages = (isMasked: boolean) => (batch: number[][]) => {
  const longest = Math.max(...batch.map(({ length }) => length));
  return batch.map((values) => sum(values) / (isMasked ? values.length : longest));
};

describe('expectBatchInvariant', () => {
  it('accepts a function that gives each input its own result', async () => {
    const run = jest.fn(averages(true));
    await expectBatchInvariant(run, sequences);
    const sizes = run.mock.calls.map(([{ length }]) => length);
    // Alone, all, reversed, and 50 random ones of many sizes.
    expect(sizes.slice(0, 8)).toEqual([1, 1, 1, 1, 1, 1, 6, 6]);
    expect(sizes).toHaveLength(58);
    expect(new Set(sizes.slice(8))).toEqual(new Set([2, 3, 4, 5, 6, 7, 8]));
  });

  it('finds a missing mask, with the smallest batch that shows it', async () => {
    const error = await failure(averages(false), sequences);
    expect(error).toBeInstanceOf(BatchInvariantError);
    expect(error.name).toBe('BatchInvariantError');
    expect(error.code).toBe('ERR_ASSERTION');
    expect(error.batch).toHaveLength(2);
    const { batch, place, index } = error;
    expect(batch[place]).toBe(index);
    const longest = Math.max(...batch.map((one) => sequences[one]?.length ?? 0));
    expect(error.actual).toBe(sum(sequences[index] ?? []) / longest);
    expect(error.expected).toBe(averages(true)([sequences[index] ?? []])[0]);
    expect(error.message).toBe(
      `input ${index} in a batch of inputs [${batch.join(', ')}], at place ${place}: ` +
        `it gave ${String(error.actual)}; alone it gave ${String(error.expected)}`,
    );
  });

  it('finds results in another order, and whose they are', async () => {
    const sorted = (batch: number[][]) => batch.map(sum).sort((one, other) => one - other);
    const error = await failure(sorted, [[1], [2], [3]]);
    expect(error.message).toMatch(
      /^input (\d) in a batch of inputs \[\d, \d\], at place 0: it gave (\d), which is the result of input \d; alone it gave \d$/,
    );
  });

  it('finds memory that is not cleared between batches', async () => {
    const memory: number[] = [];
    const leaking = (batch: number[][]) =>
      batch.map((values, place) => {
        const offset = 8 * place;
        values.forEach((value, at) => (memory[offset + at] = value));
        return sum(memory.slice(offset, offset + 8));
      });
    // The shortest first: alone it is run on clear memory.
    expect((await failure(leaking, [[1], [2, 3, 4]])).message).toMatch(/^input \d/);
  });

  it('finds a batch that throws, and one with a wrong number of results', async () => {
    const limited = (batch: number[][]) => {
      if (batch.length > 3) throw new Error('out of memory');
      return batch.map(sum);
    };
    const error = await failure(limited, sequences);
    expect(error.batch).toHaveLength(4);
    expect(error.message).toMatch(/: the batch function threw Error: out of memory; alone it gave/);
    const deduplicated = (batch: number[][]) => [...new Set(batch)].map(sum);
    const small = await failure(deduplicated, sequences, { maxSize: 3 });
    expect(small.batch).toHaveLength(2);
    expect((await failure(deduplicated, sequences)).message).toMatch(
      /batch of inputs \[(\d), \1\].*BatchResultError: .* must return an array of 2 results/,
    );
  });

  it('says when the function is not the same function twice', async () => {
    let calls = 0;
    const error = await failure(() => [++calls], [[1]], { trials: 0 });
    expect(error.message).toMatch(
      /^input 0 alone gave 1, and alone again it gave \d: the function is not determ/,
    );
    expect(error.batch).toEqual([0]);
  });

  it('compares numbers within the tolerance, also deep in results', async () => {
    const noisy = (by: number) => (batch: number[][]) =>
      batch.map((values) => ({
        scores: Float64Array.from(values, (value) => 1000 * value + by * batch.length),
        of: 'it',
      }));
    await expectBatchInvariant(noisy(1e-4), sequences, { tolerance: 1e-5 });
    await failure(noisy(1e-4), sequences);
    await failure(noisy(1), sequences, { tolerance: 1e-5 });
    // Only numbers are close; what else differs is different.
    const named = (batch: number[][]) => batch.map(() => ({ of: `a batch of ${batch.length}` }));
    await failure(named, sequences, { tolerance: 1 });
    const longer = (batch: number[][]) => batch.map(() => batch.map(() => 1));
    await failure(longer, sequences, { tolerance: 1 });
    const missing = (batch: number[][]) => batch.map(() => (batch.length > 1 ? { b: 1 } : { a: 1 }));
    await failure(missing, sequences, { tolerance: 1 });
    await expectBatchInvariant((batch: number[][]) => batch.map(() => NaN), sequences, { tolerance: 1 });
  });

  it('compares with `equals`, if it is given', async () => {
    const sized = (batch: number[][]) => batch.map((values) => ({ sum: sum(values), at: batch.length }));
    await failure(sized, sequences);
    await expectBatchInvariant(sized, sequences, { equals: (one, other) => one.sum === other.sum });
  });

  it('takes promises, typed arrays, errors in places, and a Map', async () => {
    await expectBatchInvariant(
      (batch: number[][]) => batch.map((values) => Promise.resolve(sum(values))),
      sequences,
    );
    await expectBatchInvariant(
      (batch: number[][]) => Promise.resolve(Float32Array.from(batch, sum)),
      sequences,
    );
    const picky = (of: string) => (batch: number[][]) =>
      batch.map((values) => (values.length > 3 ? new RangeError(`too long${of}`) : sum(values)));
    await expectBatchInvariant(picky(''), sequences);
    await failure((batch) => picky(` in ${batch.length}`)(batch), sequences);
    const keyBy = (values: number[]) => values.join();
    await expectBatchInvariant(
      (batch: number[][]) => new Map(batch.map((one) => [keyBy(one), sum(one)])),
      sequences,
      {
        keyBy,
      },
    );
  });

  it('tries the same batches for the same seed, at most of the size that it is given', async () => {
    const batchesOf = async (options: object) => {
      const batches: string[] = [];
      const run = (batch: number[][]) => {
        batches.push(batch.join(';'));
        return batch.map(sum);
      };
      await expectBatchInvariant(run, sequences, { trials: 20, ...options });
      return batches;
    };
    const [first, again, other] = [
      await batchesOf({}),
      await batchesOf({ seed: 1 }),
      await batchesOf({ seed: 2 }),
    ];
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
    const small = await batchesOf({ maxSize: 2, trials: 100 });
    expect(Math.max(...small.map((batch) => batch.split(';').length))).toBe(2);
  });

  it('says which input fails alone', async () => {
    const cause = new Error('poison');
    const run = () => {
      throw cause;
    };
    await expect(expectBatchInvariant(run, [1])).rejects.toThrow(
      expect.objectContaining({
        message: 'expectBatchInvariant: input 0 fails alone, so there is nothing to compare with',
        cause,
      }),
    );
  });

  it.each([
    [{ trials: -1 }, 'trials: expected an integer ≥ 0 or Infinity, got -1'],
    [{ trials: Infinity }, 'trials: expected an integer, got Infinity'],
    [{ maxSize: 1 }, 'maxSize: expected an integer ≥ 2 or Infinity, got 1'],
    [{ seed: 0.5 }, 'seed: expected an integer, got 0.5'],
    [{ tolerance: -1 }, 'tolerance: expected a number ≥ 0, got -1'],
  ])('refuses %j', async (options, message) => {
    await expect(expectBatchInvariant((batch: number[]) => batch, [1], options)).rejects.toThrow(message);
  });

  it('refuses what cannot be tried', async () => {
    const echo = (batch: number[]) => batch;
    await expect(expectBatchInvariant(echo, [])).rejects.toThrow(
      'inputs: expected at least one input, got none',
    );
    await expect(expectBatchInvariant(echo, 3 as never)).rejects.toThrow('inputs: expected an array, got 3');
    await expect(expectBatchInvariant(3 as never, [1])).rejects.toThrow(
      'batchFunction: expected a function, got 3',
    );
  });
});
