import { setImmediate, setTimeout } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import { describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { BatchQueue } from '../batch-queue.js';
import { InputCostError, QueueFullError } from '../errors.js';
import { Lane } from '../lane.js';
import type { BatchOptions } from '../options.js';
import type { Waiting } from './group.js';
import { WaitingRoom } from './waiting-room.js';

/** A queue that is not started, so that a test can fill it first; it records each batch. */
function filling<Input>(options: Partial<BatchOptions<Input>> = {}) {
  const batches: Input[][] = [];
  const queue = new BatchQueue<Input, Input>(
    (inputs) => {
      batches.push(inputs);
      return inputs;
    },
    { batchSize: 4, maxDelay: 1, autoStart: false, ...options },
  );
  return { queue, batches };
}

/** A promise that keeps a batch function from returning until it is released. */
function holding() {
  let release!: () => void;
  const promise = new Promise<void>((resolve) => (release = resolve));
  return { promise, release };
}

/** Lets the queues decide, one after the other. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await setImmediate();
}

describe('priority', () => {
  it('leaves first, in order of arrival within a level', async () => {
    const { queue, batches } = filling<string>({ batchSize: 3 });
    for (const input of ['a', 'b', 'c']) void queue.submit(input);
    for (const input of ['A', 'B']) void queue.submit(input, { priority: 1 });
    void queue.submit('!', { priority: 5 });
    await queue.stop();
    expect(batches).toEqual([
      ['!', 'A', 'B'],
      ['a', 'b', 'c'],
    ]);
  });

  it('must be a finite number', async () => {
    await expect(filling().queue.submit(1, { priority: NaN })).rejects.toThrow(
      'priority: expected a finite number, got NaN',
    );
  });
});

describe('tenants', () => {
  it('take turns, so that a flood of one takes no more than its share', async () => {
    const { queue, batches } = filling<string>({ batchSize: 4 });
    for (let input = 0; input < 9; input++) void queue.submit(`flood ${input}`, { tenant: 'flood' });
    void queue.submit('other 0', { tenant: 'other' });
    void queue.submit('other 1', { tenant: 'other' });
    void queue.submit('plain');
    await queue.stop();
    expect(batches.slice(0, 2)).toEqual([
      ['plain', 'flood 0', 'other 0', 'flood 1'],
      ['other 1', 'flood 2', 'flood 3', 'flood 4'],
    ]);
  });
});

describe('groupBy', () => {
  it('keeps apart what may not share a batch, without one holding up another', async () => {
    const { queue, batches } = filling<string>({ groupBy: (input) => input[0] });
    for (const input of ['a1', 'b1', 'a2', 'b2', 'b3', 'b4', 'a3']) void queue.submit(input);
    await queue.stop();
    // The group that fills a batch goes first, though another has waited longer.
    expect(batches).toEqual([
      ['b1', 'b2', 'b3', 'b4'],
      ['a1', 'a2', 'a3'],
    ]);
  });

  it('leaves no group behind', async () => {
    const { queue } = filling<number>({ groupBy: (input) => input, autoStart: true, maxDelay: 0 });
    v8.setFlagsFromString('--expose-gc');
    const collect = vm.runInNewContext('gc') as () => void;
    const round = async (number: number) =>
      Promise.all(queue.submitMany(Array.from({ length: 500 }, (_, input) => input + 1000 * number)));
    const heap = async () => {
      await setImmediate();
      collect();
      return process.memoryUsage().heapUsed;
    };
    await round(0);
    const before = await heap();
    for (let number = 1; number <= 80; number++) await round(number);
    expect(queue.stats()).toMatchObject({ waiting: 0, running: 0, settled: 40_500 });
    expect((await heap()) - before).toBeLessThan(20e6);
  });

  it('that throws rejects that input alone', async () => {
    const { queue } = filling<number>({
      autoStart: true,
      groupBy: (input) => {
        if (input === 2) throw new Error('no group');
        return 0;
      },
    });
    const outcomes = await Promise.allSettled(queue.submitMany([1, 2, 3]));
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(queue.stats().submitted).toBe(2);
  });
});

describe('cost', () => {
  it('refuses an input that costs more than a batch may', async () => {
    const { queue } = filling<number>({ cost: (input) => input, maxCost: 10 });
    const refused = await queue.submit(11).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(InputCostError);
    expect(refused).toMatchObject({ code: 'ERR_BATCHING_COST', cost: 11, maxCost: 10 });
    await expect(filling<number>({ cost: () => NaN }).queue.submit(1)).rejects.toThrow(
      'cost: expected a number ≥ 0, got NaN',
    );
  });

  it('bounds the inputs that wait, but an empty queue takes any input', async () => {
    const { queue } = filling<number>({ cost: (input) => input, maxQueuedCost: 10 });
    void queue.submit(12);
    await expect(queue.submit(1)).rejects.toBeInstanceOf(QueueFullError);
    void queue.stop();
  });

  it('lets inputs at the door in when there is room for their cost', async () => {
    const { queue, batches } = filling<number>({
      cost: (input) => input,
      maxCost: 6,
      maxQueuedCost: 6,
      onFull: 'wait',
    });
    const results = queue.submitMany([3, 3, 5, 1]);
    expect(queue.stats()).toMatchObject({ waiting: 2, blocked: 2 });
    await queue.stop();
    expect(await Promise.all(results)).toEqual([3, 3, 5, 1]);
    expect(batches).toEqual([
      [3, 3],
      [5, 1],
    ]);
  });
});

describe('a queue that is full by cost', () => {
  it('sends a batch off, as no more inputs can come in', async () => {
    for (const inputs of [
      [3, 3],
      [3, 2, 5],
    ]) {
      const { queue, batches } = filling<number>({
        cost: (input) => input,
        maxQueuedCost: 6,
        maxDelay: Infinity,
        onFull: 'wait',
        autoStart: true,
      });
      const [first, second] = queue.submitMany(inputs);
      expect(await Promise.all([first, second])).toEqual(inputs.slice(0, 2));
      expect(batches).toEqual([inputs.slice(0, 2)]);
      await queue.stop();
    }
  });
});

describe('a lane', () => {
  it('lets queues of one device take turns, and never more batches run than it has slots', async () => {
    const lane = new Lane();
    let running = 0;
    let most = 0;
    const order: string[] = [];
    const build = (name: string) =>
      new BatchQueue<number, number>(
        async (inputs) => {
          most = Math.max(most, ++running);
          order.push(name);
          await setTimeout(1);
          running--;
          return inputs;
        },
        { batchSize: 2, maxDelay: 0, lane, concurrency: 2 },
      );
    const [greedy, modest] = [build('greedy'), build('modest')];
    const all = [...greedy.submitMany(Array(20).fill(1)), ...modest.submitMany(Array(6).fill(2))];
    await Promise.all(all);
    expect(most).toBe(1);
    // Three batches of the modest queue, each after at most one of the greedy queue.
    expect(order.slice(0, 7).filter((name) => name === 'modest')).toHaveLength(3);
  });

  it('does so for batches that take no time too', async () => {
    const lane = new Lane();
    const { promise: held, release } = holding();
    const order: string[] = [];
    const build = (name: string) =>
      new BatchQueue<number, number>(
        (inputs) => {
          order.push(name);
          return name === 'held' ? held.then(() => inputs) : inputs;
        },
        { batchSize: 1, maxDelay: 0, lane },
      );
    const running = build('held').submit(0);
    await turns();
    const waiting = ['first', 'second'].flatMap((name) => build(name).submitMany([1, 2, 3]));
    await turns();
    // A queue with more to send goes on in the same turn of the event loop, unless a millisecond has passed.
    const clock = jest.spyOn(performance, 'now').mockReturnValue(performance.now());
    release();
    await Promise.all([running, ...waiting]);
    clock.mockRestore();
    expect(order).toEqual(['held', 'first', 'second', 'first', 'second', 'first', 'second']);
  });

  it('goes on when the queue whose turn it is has no batch any more', async () => {
    const lane = new Lane();
    const { promise: held, release } = holding();
    const options = { batchSize: 1, maxDelay: 0, lane };
    const first = new BatchQueue<number, number>(() => held.then(() => [1]), options);
    const [second, third] = [2, 3].map(() => new BatchQueue<number, number>((inputs) => inputs, options));
    const running = first.submit(1);
    await turns();
    const caller = new AbortController();
    const gone = second?.submit(2, { signal: caller.signal });
    await turns();
    const last = third?.submit(3);
    await turns();
    // All three stand in line for the slot, in this order.
    caller.abort(new Error('gone'));
    await expect(gone).rejects.toThrow('gone');
    release();
    expect(await Promise.all([running, last])).toEqual([1, 3]);
  });

  it('fills all slots that become free together', async () => {
    const lane = new Lane(2);
    const [before, after] = [holding(), holding()];
    let running = 0;
    const build = (held: Promise<void>) =>
      new BatchQueue<number, number>(
        async (inputs) => {
          running++;
          await held;
          running--;
          return inputs;
        },
        { batchSize: 1, maxDelay: 0, lane },
      );
    const first = [build(before.promise).submit(1), build(before.promise).submit(2)];
    await turns();
    const next = [build(after.promise).submit(3), build(after.promise).submit(4)];
    await turns();
    before.release();
    expect(await Promise.all(first)).toEqual([1, 2]);
    await turns();
    expect(running).toBe(2);
    after.release();
    expect(await Promise.all(next)).toEqual([3, 4]);
  });

  it('checks its concurrency', () => {
    expect(() => new Lane(0)).toThrow(RangeError);
  });
});

describe('waiting inputs', () => {
  it('cost O(log n) each, however many groups, priorities and tenants there are', () => {
    interface Counted extends Waiting<Counted> {
      next: Counted | undefined;
    }
    const places = [
      (group: number) => ({ group, priority: 0, tenant: undefined }),
      (priority: number) => ({ group: undefined, priority, tenant: undefined }),
      (tenant: number) => ({ group: undefined, priority: 0, tenant }),
      (number: number) => ({ group: number % 64, priority: number % 2, tenant: number }),
    ];
    const number = 4096;
    for (const place of places) {
      let looks = 0;
      const room = new WaitingRoom<Counted>(1000);
      for (let at = 0; at < number; at++) {
        const ticket = { ...place((at * 31) % number), cost: 0, line: undefined };
        const entry = {
          next: undefined,
          extras: { previous: undefined, ticket },
          get turn() {
            looks++;
            return { at, order: at };
          },
        };
        room.push(entry);
      }
      let left = 0;
      for (let group = room.next(8, Infinity); group; group = room.next(8, Infinity)) {
        for (let entry = room.take(group, 8, Infinity); entry; entry = entry.next) left++;
      }
      expect(left).toBe(number);
      expect(room.length).toBe(0);
      expect(looks).toBeLessThan(10 * number * Math.log2(number));
    }
  });

  it('leave by the present batch size: a group that fills a batch goes first', async () => {
    const held = holding();
    const batches: string[][] = [];
    const queue = new BatchQueue<string, string>(
      async (inputs) => {
        batches.push(inputs);
        await held.promise;
        return inputs;
      },
      { batchSize: 4, maxDelay: 60_000, dispatch: 'fixed', groupBy: (input) => input[0] },
    );
    const all = queue.submitMany(['x1', 'x2', 'x3', 'x4', 'a1', 'a2', 'b1', 'b2', 'b3']);
    await turns();
    queue.concurrency = 2;
    await turns();
    expect(batches).toEqual([['x1', 'x2', 'x3', 'x4']]);
    queue.batchSize = 3;
    await turns();
    expect(batches.slice(1)).toEqual([['b1', 'b2', 'b3']]);
    held.release();
    await queue.drain();
    expect(batches.slice(2)).toEqual([['a1', 'a2']]);
    await Promise.all(all);
  });

  it('leave in the order of a simple model, whatever is mixed', async () => {
    const inputs = fc.record({
      group: fc.constantFrom('a', 'b'),
      priority: fc.integer({ min: 0, max: 2 }),
      tenant: fc.constantFrom(undefined, 'x', 'y'),
      cost: fc.integer({ min: 0, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(inputs, { maxLength: 40 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 5, max: 12 }),
        async (all, batchSize, maxCost) => {
          const { queue, batches } = filling<(typeof all)[number]>({
            batchSize,
            maxCost,
            cost: ({ cost }) => cost,
            groupBy: ({ group }) => group,
          });
          const results = all.map((one) => queue.submit(one, { priority: one.priority, tenant: one.tenant }));
          await queue.stop();
          expect(await Promise.all(results)).toEqual(all);
          for (const batch of batches) {
            expect(batch.length).toBeLessThanOrEqual(batchSize);
            expect(batch.reduce((sum, { cost }) => sum + cost, 0)).toBeLessThanOrEqual(maxCost);
            expect(new Set(batch.map(({ group }) => group)).size).toBe(1);
          }
          // Law 3: the order of arrival within a group, a priority and a tenant; and higher priorities first.
          const left = batches.flat();
          for (const group of ['a', 'b']) {
            const ofGroup = left.filter((one) => one.group === group);
            expect(ofGroup.map(({ priority }) => priority)).toEqual(
              ofGroup.map(({ priority }) => priority).toSorted((a, b) => b - a),
            );
            for (const tenant of [undefined, 'x', 'y']) {
              for (const priority of [0, 1, 2]) {
                const same = (one: (typeof all)[number]) =>
                  one.group === group && one.tenant === tenant && one.priority === priority;
                expect(left.filter(same)).toEqual(all.filter(same));
              }
            }
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
