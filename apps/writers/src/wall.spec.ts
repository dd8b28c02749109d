import { describe, expect, it } from '@jest/globals';
import { ApiError } from '@app/serving';
import { Wall } from './wall.js';
import type { Order } from './writer.js';

describe('Wall', () => {
  it('ends a text that is ahead of its reader when the reader leaves', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const gone = new ApiError(499, 'ERR_CLIENT_GONE', 'the client closed the connection');
    const writer = {
      async *write(_: Order, options: { signal: AbortSignal }) {
        // The reader leaves during this step.
        controller.abort(gone);
        yield await Promise.resolve('x'.repeat(100_000));
        options.signal.throwIfAborted();
      },
    };
    const stats = () => ({ settled: 0, batches: 0 });
    const wall = new Wall({ signal } as never, writer as never, { step: { queue: { stats } } } as never);
    const line = wall.begin('The ');
    await wall.write(line, { prompt: 'The ', temperature: 0, seed: 1, length: 100_000 });
    expect(line.signal.reason).toBe(gone);
    expect(line.length).toBe(100_000);
  });

  it('ends a text that is ahead of its reader when it leaves', async () => {
    const writer = {
      async *write(_: Order, options: { signal: AbortSignal }) {
        for (;;) {
          options.signal.throwIfAborted();
          yield await Promise.resolve('x'.repeat(100_000));
        }
      },
    };
    const stats = () => ({ settled: 0, batches: 0 });
    const { signal } = new AbortController();
    const wall = new Wall({ signal } as never, writer as never, { step: { queue: { stats } } } as never);
    const line = wall.begin('The ');
    const writing = wall.write(line, { prompt: 'The ', temperature: 0, seed: 1, length: 1_000_000 });
    await new Promise((resolve) => setImmediate(resolve));
    wall.leave([line.number], new ApiError(410, 'ERR_LEFT', 'it left'));
    await writing;
    expect(line.length).toBe(100_000);
  });
});
