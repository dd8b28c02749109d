import { describe, expect, it } from '@jest/globals';
import { BatchQueue } from '../core/batch-queue.js';
import { SerialQueue } from '../core/serial-queue.js';
import { applyChange, checkChange } from './change-settings.js';

describe('A change of settings', () => {
  const queue = () =>
    new BatchQueue<unknown, unknown>((inputs) => inputs, { name: 'q', batchSize: 8, maxDelay: 5 });

  it('is made, and said for the log', () => {
    const changed = queue();
    const change = checkChange({ queue: 'q', batchSize: 32, maxDelay: 2.5, dispatch: 'fixed' });
    expect(applyChange(changed, change)).toEqual([
      'batchSize 8 → 32',
      'maxDelay 5 → 2.5',
      'dispatch adaptive → fixed',
    ]);
    expect(changed.stats().options).toMatchObject({ batchSize: 32, maxDelay: 2.5, dispatch: 'fixed' });
    expect(applyChange(changed, change)).toEqual([]);
  });

  it('goes back to what a queue had at the start, whatever that was', () => {
    const initial = { batchSize: null, maxDelay: 90_000, dispatch: 'fixed' } as const;
    const changed = queue();
    const change = checkChange({ queue: 'q', ...initial }, (name) => (name === 'q' ? initial : null));
    expect(applyChange(changed, change)).toContain('batchSize 8 → Infinity');
    expect(changed).toMatchObject({ batchSize: Infinity, maxDelay: 90_000 });
    expect(() => checkChange({ queue: 'q', maxDelay: null }, () => initial)).toThrow('got null');
  });

  it.each([
    [null, 'expected a JSON object with queue and settings, got null'],
    [[], 'expected a JSON object'],
    [{ batchSize: 1 }, 'queue: expected the name of a queue, got undefined'],
    [{ queue: 'q' }, "expected one or more of batchSize, maxDelay, dispatch, got 'none'"],
    [
      { queue: 'q', concurrency: 3 },
      "expected one or more of batchSize, maxDelay, dispatch, got 'concurrency'",
    ],
    [{ queue: 'q', batchSize: 0 }, 'batchSize: expected an integer of 1 to 65536, got 0'],
    [{ queue: 'q', batchSize: 1.5 }, 'batchSize: expected an integer of 1 to 65536, got 1.5'],
    [{ queue: 'q', batchSize: '8' }, "batchSize: expected an integer of 1 to 65536, got '8'"],
    [{ queue: 'q', batchSize: null }, 'batchSize: expected an integer of 1 to 65536, got null'],
    [{ queue: 'q', maxDelay: -1 }, 'maxDelay: expected 0 to 60000 milliseconds, got -1'],
    [{ queue: 'q', maxDelay: 1e9 }, 'maxDelay: expected 0 to 60000 milliseconds, got 1000000000'],
    [{ queue: 'q', dispatch: 'soon' }, "dispatch: expected adaptive or fixed or eager, got 'soon'"],
  ])('is refused for %j', (body, message) => {
    expect(() => checkChange(body)).toThrow(message);
  });

  it('is refused for a queue that is not there, or has no batches', () => {
    const change = { queue: 'q', batchSize: 2 };
    expect(() => applyChange(undefined, change)).toThrow("no queue is called 'q'");
    const serial = new SerialQueue((input: unknown) => input, { name: 'q' });
    expect(() => applyChange(serial, change)).toThrow(
      'q has no settings of batches here: its calls run one at a time, or on other nodes',
    );
    expect(serial.batchSize).toBe(1);
  });
});
