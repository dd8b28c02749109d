import { describe, expect, it } from '@jest/globals';
import { BatchQueue } from '../batch-queue.js';
import type { InternalSubmitOptions } from '../options.js';
import { apartFrom } from './apart.js';

describe('the group of inputs that are kept from others', () => {
  it.each([undefined, null, 0, 'text', true, 5n, Symbol.for('known'), Symbol('own'), {}, () => 0])(
    'is one for each group of the user, apart from it: %p',
    (group) => {
      const key = apartFrom(group, 'together');
      expect(key).toBe(apartFrom(group, 'together'));
      expect(key).not.toBe(group);
      expect(apartFrom(group, 'alone')).not.toBe(key);
    },
  );

  it('tells groups apart that look alike as texts', () => {
    const keys = [1, '1', 1n, {}, {}, 'undefined', undefined].map((group) => apartFrom(group, 'together'));
    expect(new Set(keys).size).toBe(keys.length);
    expect(apartFrom(undefined, 'alone')).not.toBe(apartFrom(undefined, 'alone'));
  });

  it('shares no batch with other inputs', async () => {
    const batches: string[] = [];
    const queue = new BatchQueue<string, string>(
      (inputs) => {
        batches.push(inputs.join(' '));
        return inputs;
      },
      { batchSize: 10, maxDelay: 5, groupBy: (input: unknown) => String(input).at(-1) },
    );
    const submit = (input: string, apart?: InternalSubmitOptions['apart']): Promise<string> =>
      queue.submit(input, { apart } as InternalSubmitOptions);
    await Promise.all([
      submit('1a'),
      submit('2a', 'together'),
      submit('3b', 'together'),
      submit('4a', 'alone'),
      submit('5a', 'alone'),
      submit('6a', 'together'),
      submit('7a'),
    ]);
    expect(batches.sort()).toEqual(['1a 7a', '2a 6a', '3b', '4a', '5a']);
  });
});
