import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { type BatchFunction, BatchQueue, type BatchOptions } from 'nest-batching';
import { retry } from '../docs/examples/retry.js';

describe('docs/tuning.md', () => {
  it('shows the examples that are tested here', () => {
    const read = (path: string) => readFileSync(new URL(`../docs/${path}`, import.meta.url), 'utf8');
    expect(read('tuning.md')).toContain(`\`\`\`ts\n${read('examples/retry.ts')}\`\`\`\n`);
  });
});

describe('retry', () => {
  const passing = new Error('busy');
  const lasting = new Error('no such table');

  /** A batch function that fails with these errors, one by one, before it succeeds. */
  function failing(errors: Error[], onRun: () => void = () => undefined) {
    const runs: number[][] = [];
    const run: BatchFunction<number, number> = (inputs) => {
      const error = errors[runs.push([...inputs]) - 1];
      // A run may do with its inputs what it likes: the next has its own.
      const results = inputs.splice(0).map((input) => 2 * input);
      onRun();
      if (error) throw error;
      return results;
    };
    const options: BatchOptions = { batchSize: 2, maxDelay: 0 };
    const queue = new BatchQueue(
      retry(3, (error) => error === passing, run),
      options,
    );
    return { queue, runs };
  }

  it('runs the batch again while its error may pass, and no caller notices', async () => {
    const { queue, runs } = failing([passing, passing]);
    expect(await Promise.all(queue.submitMany([1, 2]))).toEqual([2, 4]);
    expect(runs).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
    ]);
    expect(queue.stats()).toMatchObject({ results: 2, errors: 0, batches: 1 });
  });

  it('gives up after so many attempts', async () => {
    const { queue, runs } = failing([passing, passing, passing]);
    await expect(queue.submit(1)).rejects.toBe(passing);
    expect(runs).toHaveLength(3);
  });

  it('does not repeat what would fail again', async () => {
    const { queue, runs } = failing([lasting]);
    await expect(queue.submit(1)).rejects.toBe(lasting);
    expect(runs).toHaveLength(1);
  });

  it('does not repeat what no caller waits for', async () => {
    const caller = new AbortController();
    const { queue, runs } = failing([passing], () => {
      caller.abort('gone');
    });
    await expect(queue.submit(1, { signal: caller.signal })).rejects.toBe('gone');
    await queue.drain();
    while (queue.stats().runningBatches > 0) await new Promise(setImmediate);
    expect(runs).toHaveLength(1);
  });
});
