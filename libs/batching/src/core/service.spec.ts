import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import { ServiceStoppedError } from './errors.js';
import { asBatchedService, asService } from './service.js';

describe('asBatchedService', () => {
  it("prints the four batches of the reference's front page", async () => {
    const batches: number[][] = [];
    const square = asBatchedService(
      3,
      100,
    )((xs: number[]) => {
      batches.push(xs);
      return xs.map((x) => x * x);
    });
    const results = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((x) => square(x)));
    expect(results).toEqual([0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
    expect(batches).toEqual([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]);
    await square.stop();
    await expect(square(1)).rejects.toBeInstanceOf(ServiceStoppedError);
  });

  it('infers inputs and results, with errors as items left out of the results', async () => {
    const half = asBatchedService(
      4,
      1,
    )(async (xs: readonly number[]) => {
      await setTimeout(1);
      return xs.map((x) => (x % 2 === 0 ? x / 2 : new RangeError(`${x} is odd`)));
    });
    const result: number = await half.submit(8);
    expect(result).toBe(4);
    await expect(half(3)).rejects.toThrow(RangeError);
    expect(await Promise.all(half.submitMany(new Set([2, 4])))).toEqual([1, 2]);
    expect(half.queue.stats()).toMatchObject({ results: 3, errors: 1 });
  });

  it('takes the options of a queue, its name from the function', () => {
    function classify(xs: number[]) {
      return xs;
    }
    const service = asBatchedService(2, 1, { autoStart: false, maxQueued: 1 })(classify);
    expect(service.queue.name).toBe('classify');
    expect(service.queue.stats()).toMatchObject({
      state: 'created',
      options: { batchSize: 2, maxQueued: 1 },
    });
    service.start();
    expect(service.queue.stats().state).toBe('started');
  });
});

describe('asService', () => {
  it('runs one call at a time, in the order they came', async () => {
    let running = 0;
    let most = 0;
    const order: number[] = [];
    const write = asService()(async (x: number) => {
      most = Math.max(most, ++running);
      order.push(x);
      await setTimeout(x % 3);
      running--;
      return -x;
    });
    const inputs = Array.from({ length: 20 }, (_, index) => index);
    expect(await Promise.all(inputs.map((x) => write(x)))).toEqual(inputs.map((x) => -x));
    expect(order).toEqual(inputs);
    expect(most).toBe(1);
  });

  it('runs each call in the async context of its caller, its cost and group too', async () => {
    const user = new AsyncLocalStorage<string>();
    const costs: [string, string | undefined][] = [];
    const cost = (input: unknown) => {
      costs.push([String(input), user.getStore()]);
      return 1;
    };
    const load = asService({ cost, groupBy: (input) => input })(async (path: string) => {
      await setTimeout(1);
      return `${path} for ${user.getStore()}`;
    });
    const calls = ['ada', 'bob'].map((name) => user.run(name, () => load(`file of ${name}`)));
    const many = user.run('cyd', () => load.submitMany(['c1', 'c2']));
    expect(await Promise.all([...calls, ...many])).toEqual([
      'file of ada for ada',
      'file of bob for bob',
      'c1 for cyd',
      'c2 for cyd',
    ]);
    expect(costs).toEqual([
      ['file of ada', 'ada'],
      ['file of bob', 'bob'],
      ['c1', 'cyd'],
      ['c2', 'cyd'],
    ]);
    expect(load.queue.name).toBe('service');
  });

  it('goes on after a call that failed', async () => {
    const parse = asService({ name: 'parse' })((text: string) => JSON.parse(text) as unknown);
    await expect(parse('{')).rejects.toThrow(SyntaxError);
    expect(await parse('{"a":1}')).toEqual({ a: 1 });
    expect(parse.queue.name).toBe('parse');
  });
});
