import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { BatchQueue } from './batch-queue.js';
import type { BatchEvent, InputEvent } from './events.js';
import type { BatchOptions } from './options.js';
import { SerialQueue } from './serial-queue.js';

const subscriptions: (() => void)[] = [];
afterEach(() => {
  for (const end of subscriptions.splice(0)) end();
});

interface Events {
  'input:submit': InputEvent;
  'input:end': InputEvent;
  'batch:start': BatchEvent;
  'batch:end': BatchEvent;
}

const NAMES = ['input:submit', 'input:end', 'batch:start', 'batch:end'] as const;

function on<Name extends keyof Events>(name: Name, listener: (message: Events[Name]) => void): void {
  const onMessage = (message: unknown): void => {
    listener(message as Events[Name]);
  };
  subscribe(`nest-batching:${name}`, onMessage);
  subscriptions.push(() => unsubscribe(`nest-batching:${name}`, onMessage));
}

/** All events in their order. */
function record(): { name: string; message: InputEvent | BatchEvent }[] {
  const events: { name: string; message: InputEvent | BatchEvent }[] = [];
  for (const name of NAMES) {
    on(name, (message) => events.push({ name, message }));
  }
  return events;
}

function squares(options: Partial<BatchOptions<number>> = {}): BatchQueue<number, number> {
  return new BatchQueue(
    async (xs: number[]) => {
      await sleep(2);
      return xs.map((x) => (x < 0 ? (new Error('negative') as never) : x * x));
    },
    { name: 'squares', batchSize: 2, maxDelay: 0, ...options },
  );
}

describe('The events of diagnostics_channel', () => {
  it('are the same object from the submission of an input to its end, and of a batch', async () => {
    const events = record();
    const queue = squares();
    await Promise.all(queue.submitMany([1, 2]));
    await queue.drain();
    expect(events.map(({ name }) => name)).toEqual([
      ...['input:submit', 'input:submit', 'batch:start', 'input:end', 'input:end', 'batch:end'],
    ]);
    const [first, second, start, firstEnd, secondEnd, end] = events.map(({ message }) => message);
    expect([firstEnd, secondEnd, end]).toEqual([first, second, start]);
    expect(firstEnd).toBe(first);
    const batch = end as BatchEvent;
    expect(batch).toBe(start);
    expect(batch.inputs[0]).toBe(first);
    expect(batch.inputs[1]).toBe(second);
    expect(batch.queue).toBe(queue);
    expect(batch.size).toBe(2);
    expect(batch.number).toBe(1);
    expect(batch.reason).toBe('size');
    expect(batch.waits).toHaveLength(2);
    expect(batch.report).toMatchObject({ queue: 'squares', size: 2, results: 2, errors: 0 });
    expect(first).toMatchObject({ queue, ran: true, outcome: 'result', error: undefined });
  });

  it('say how an input ended', async () => {
    const ended: InputEvent[] = [];
    on('input:end', (input) => ended.push(input));
    on('input:submit', () => undefined);
    const queue = squares({ maxQueued: 1, batchSize: 1 });
    const results = [
      queue.submit(1, { signal: AbortSignal.abort('gone') }),
      queue.submit(-1),
      queue.submit(2),
    ];
    await Promise.allSettled(results);
    await queue.stop();
    await expect(queue.submit(3)).rejects.toThrow('squares');
    expect(ended.map(({ ran, outcome }) => ({ ran, outcome }))).toEqual([
      { ran: false, outcome: 'dropped' },
      { ran: false, outcome: 'dropped' },
      { ran: true, outcome: 'error' },
      { ran: false, outcome: 'dropped' },
    ]);
    expect(
      ended.map(({ error }) => (error as { code?: string; message?: string }).code ?? String(error)),
    ).toEqual(['gone', 'ERR_BATCHING_FULL', 'Error: negative', 'ERR_BATCHING_STOPPED']);
  });

  it('say whether the caller gave up, waiting or running, which is no failure', async () => {
    const ended: InputEvent[] = [];
    on('input:end', (input) => ended.push(input));
    on('input:submit', () => undefined);
    const queue = squares({ keyBy: (x) => x, coalesce: true, batchSize: 1 });
    const give = new AbortController();
    // The second shares the input of the first; the third waits.
    const results = [1, 1, 2].map((x) => queue.submit(x, { signal: give.signal }));
    results.push(queue.submit(1), queue.submit(-3));
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    expect(queue.stats()).toMatchObject({ runningBatches: 1, waiting: 2 });
    give.abort('gone');
    await Promise.allSettled([...results, queue.submit(4, { signal: give.signal })]);
    const ends = ended.map(({ aborted, outcome }) => `${outcome} ${aborted}`);
    expect(ends.toSorted()).toEqual([
      ...['dropped true', 'dropped true', 'error false', 'error true', 'error true', 'result false'],
    ]);
    expect(queue.stats()).toMatchObject({ errors: 3, drops: { aborted: 2 } });
    expect(queue.abortedWhileRunning).toBe(2);
  });

  it('have all callers of a shared input, also one that joins while it runs', async () => {
    const events = record();
    const queue = squares({ keyBy: (x) => x, coalesce: true });
    const results = queue.submitMany([-7, -7]);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    results.push(queue.submit(-7));
    await Promise.allSettled(results);
    const start = events.find(({ name }) => name === 'batch:start')?.message as BatchEvent;
    expect(start.size).toBe(1);
    expect(start.inputs).toHaveLength(2);
    const ends = events
      .filter(({ name }) => name === 'input:end')
      .map(({ message }) => message as InputEvent);
    expect(ends.map(({ ran, outcome }) => ({ ran, outcome }))).toEqual(
      Array.from({ length: 3 }, () => ({ ran: true, outcome: 'error' })),
    );
  });

  it('leave the counts in balance, so that stats() may be read in each', async () => {
    let reads = 0;
    for (const name of NAMES) {
      on(name, ({ queue }) => {
        queue.stats();
        reads++;
      });
    }
    const queue = squares({ maxQueued: 3 });
    await Promise.allSettled([1, -2, 3, 4].map((x) => queue.submit(x)));
    await queue.drain();
    expect(reads).toBe(12);
  });

  it('publish a submission in the context of its caller, and a batch in none', async () => {
    const storage = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    on('input:submit', () => seen.push(storage.getStore()));
    on('batch:start', () => seen.push(storage.getStore()));
    const queue = squares();
    await Promise.all(['a', 'b'].map((caller) => storage.run(caller, () => queue.submit(1))));
    expect(seen).toEqual(['a', 'b', undefined]);
  });

  it('let a subscriber of batch:start run the batch function in a context, and nothing else', async () => {
    const storage = new AsyncLocalStorage<number>();
    const seen: unknown[] = [];
    const queue = new BatchQueue(
      async (xs: number[]) => {
        seen.push(storage.getStore());
        await sleep(1);
        seen.push(storage.getStore());
        return xs;
      },
      { batchSize: 1, maxDelay: 0 },
    );
    let batches = 0;
    on('batch:start', (batch) => {
      seen.push(storage.getStore());
      const store = ++batches;
      batch.wrapRun((run) => storage.run(store, run));
    });
    on('batch:end', () => seen.push(storage.getStore()));
    await Promise.all(queue.submitMany([1, 2]));
    await queue.drain();
    expect(seen).toEqual([undefined, 1, 1, undefined, undefined, 2, 2, undefined]);
  });

  it('leave a serial call in the context of its caller', async () => {
    const storage = new AsyncLocalStorage<string>();
    on('batch:start', (batch) => {
      batch.wrapRun((run) => storage.run('batch', run));
    });
    const queue = new SerialQueue(() => storage.getStore(), {});
    expect(await storage.run('caller', () => queue.submit(1))).toBe('caller');
  });

  it('are not made for inputs and batches that nothing listened to', async () => {
    const queue = squares();
    const early = queue.submit(1);
    const ended: InputEvent[] = [];
    on('input:end', (input) => ended.push(input));
    await queue.submit(2);
    const starts: BatchEvent[] = [];
    on('batch:start', (batch) => starts.push(batch));
    await Promise.all([early, queue.submit(3)]);
    expect(ended).toEqual([]);
    expect(starts.map(({ size, inputs }) => ({ size, inputs }))).toEqual([{ size: 1, inputs: [] }]);
  });
});
