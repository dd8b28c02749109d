import { describe, expect, it } from '@jest/globals';
import { BatchQueue } from './batch-queue.js';
import { SerialQueue } from './serial-queue.js';
import type { ObservedBatch } from './watch.js';

describe('BatchQueue.watch', () => {
  it('shows each batch when it leaves and when it ends, with those that ran before', async () => {
    let end: () => void = () => undefined;
    const queue = new BatchQueue<number, number>(
      (inputs) =>
        new Promise((resolve) => {
          end = () => {
            resolve(inputs);
          };
        }),
      { batchSize: 2, maxDelay: 0, dispatch: 'eager' },
    );
    const first = queue.submit(1);
    await new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
    const seen: [string, ObservedBatch][] = [];
    const stop = queue.watch({
      left: (batch) => seen.push(['left', batch]),
      ended: (batch, ran) => {
        expect(ran).toBeGreaterThanOrEqual(0);
        seen.push(['ended', batch]);
      },
    });
    const rest = queue.submitMany([2, 3]);
    end();
    await first;
    await new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
    end();
    await Promise.all(rest);
    await queue.drain();
    expect(seen.map(([event, { number, size, reason }]) => [event, number, size, reason])).toEqual([
      ['left', 1, 1, 'idle'],
      ['ended', 1, 1, 'idle'],
      ['left', 2, 2, 'size'],
      ['ended', 2, 2, 'size'],
    ]);
    expect(seen.map(([, { results }]) => results)).toEqual([1, 1, 2, 2]);
    expect(seen[0]?.[1]).toBe(seen[1]?.[1]);
    stop();
    const last = queue.submit(4);
    await new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
    end();
    await last;
    expect(seen).toHaveLength(4);
  });
});

describe('BatchQueue.setDispatch', () => {
  it('changes when batches leave, from the next decision on', async () => {
    const queue = new BatchQueue<number, number>((inputs) => inputs, {
      batchSize: 2,
      maxDelay: Infinity,
      dispatch: 'fixed',
    });
    const result = queue.submit(1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(queue.stats().waiting).toBe(1);
    queue.setDispatch('eager');
    expect(await result).toBe(1);
    expect(queue.stats()).toMatchObject({ options: { dispatch: 'eager' }, dispatches: { idle: 1 } });
    queue.setDispatch('adaptive');
    for (let input = 0; input < 20; input++) expect(await queue.submit(input)).toBe(input);
    expect(() => {
      queue.setDispatch('soon' as never);
    }).toThrow("dispatch: expected 'adaptive' or 'fixed' or 'eager', got 'soon'");
  });

  it('knows a queue without batches, which runs one call at a time', () => {
    expect(new SerialQueue((input: number) => input, {}).hasBatches).toBe(false);
    expect(new BatchQueue((inputs: number[]) => inputs, { batchSize: 1, maxDelay: 0 }).hasBatches).toBe(true);
  });
});
