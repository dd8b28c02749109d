import { execFile } from 'node:child_process';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it, jest } from '@jest/globals';
import type { BatchContext } from './batch-function.js';
import { BatchQueue } from './batch-queue.js';
import {
  BatchResultError,
  BatchTimeoutError,
  DeadlineError,
  QueueFullError,
  ServiceStoppedError,
  TooManyInputsError,
} from './errors.js';
import { Lane } from './lane.js';
import type { BatchFunction } from './batch-function.js';
import type { BatchOptions, SubmitOptions } from './options.js';
import { asBatchedService } from './service.js';
import { ServiceTime } from './dispatch/service-time.js';

/**
 * Faults of other batchers, one test each, named after the system or the thread; faults of the reference; and
 * what users' batch functions, callers and observers can do. No caller hangs, and no other caller suffers.
 *
 * Not here, because another part answers for it: inference off the event loop and workers that crash
 * (`inference/main/inference-worker.spec.ts`), warm-up and padding to allowed sizes (triton server#4503,
 * #6937; `tfjs/`), the order of a shutdown (`nest/batching-shutdown.spec.ts`). The machinery of threads
 * (TensorFlow) has no counterpart.
 */

const options: BatchOptions = { batchSize: 3, maxDelay: 1, dispatch: 'fixed' };

function queueOf<Result, Input = number>(
  batchFunction: unknown,
  more: Partial<BatchOptions<Input>> = {},
): BatchQueue<Input, Result> {
  return new BatchQueue(batchFunction as BatchFunction<Input, Result>, { ...options, ...more });
}

const echo = (inputs: number[]) => inputs;

const never = () => new Promise(() => undefined);

/** Records every batch; each takes `ms` milliseconds. */
function recording<Input = number>(ms = 0) {
  const batches: Input[][] = [];
  const run = async (inputs: Input[]) => {
    batches.push([...inputs]);
    if (ms > 0) await setTimeout(ms);
    return inputs;
  };
  return { batches, run };
}

/** Blocks the event loop, as a native addon does. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setImmediate();
}

async function outcomes(promises: Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((one): unknown => (one.status === 'fulfilled' ? one.value : one.reason));
}

function expectBalance(queue: Pick<BatchQueue<never, unknown>, 'stats'>): void {
  const { submitted, settled, dropped, waiting, running } = queue.stats();
  expect(settled + dropped + waiting + running).toBe(submitted);
}

const failure = new Error('broken');

describe('faults of other batchers', () => {
  it('Triton: a change of shape closes the batch and delays the inputs behind it', async () => {
    const { batches, run } = recording<string>();
    const queue = queueOf<string, string>(run, { autoStart: false, groupBy: (input) => input[0] });
    for (const input of ['a1', 'b1', 'a2', 'b2', 'b3', 'a3', 'b4']) void queue.submit(input);
    await queue.stop();
    // Of the groups that fill a batch, the one with the oldest input.
    expect(batches).toEqual([['a1', 'a2', 'a3'], ['b1', 'b2', 'b3'], ['b4']]);
  });

  it('Triton: priorities without aging starve the lowest', async () => {
    jest.useFakeTimers();
    try {
      const left: string[] = [];
      const run = async (inputs: readonly string[]) => {
        left.push(...inputs);
        await new Promise((resolve) => globalThis.setTimeout(resolve, 10));
        return inputs;
      };
      const queue = queueOf<string, string>(run, { batchSize: 1, maxDelay: 0, aging: 45 });
      const flood = async () => {
        for (let high = 0; high < 10; high++) await queue.submit('high', { priority: 1 });
      };
      void flood();
      void flood();
      void flood();
      void queue.submit('low');
      await jest.advanceTimersByTimeAsync(200);
      // When it has waited 70 ms, the first of those before it has waited 20, and 50 is more than a level is
      // worth.
      expect(left.indexOf('low')).toBe(7);
    } finally {
      jest.useRealTimers();
    }
  });

  it('Ray: batches are closed while the executor is busy, and so leave partly filled (ray#43288)', async () => {
    const batches: number[][] = [];
    let finish = (): void => undefined;
    const busy = new Promise<void>((resolve) => (finish = resolve));
    const queue = queueOf<number>(
      async (inputs: readonly number[]) => {
        batches.push([...inputs]);
        await busy;
        return [...inputs];
      },
      { batchSize: 8 },
    );
    const all = [queue.submit(0)];
    await until(() => batches.length === 1);
    for (let input = 1; input < 9; input++) {
      all.push(queue.submit(input));
      await setTimeout(3);
    }
    finish();
    await outcomes(all);
    expect(batches).toEqual([[0], [1, 2, 3, 4, 5, 6, 7, 8]]);
  });

  it('Ray: a cost function that throws hangs all callers', async () => {
    const cost = (input: number) => {
      if (input === 2) throw failure;
      return 1;
    };
    const queue = queueOf<number>(echo, { cost, maxCost: 10 });
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, failure, 3]);
    expectBalance(queue);
  });

  it('Ray: an exception in a result’s place is handed over as a value', async () => {
    const queue = queueOf((inputs: number[]) => inputs.map((input) => (input === 2 ? failure : input)));
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, failure, 3]);
    expect(queue.stats()).toMatchObject({ results: 2, errors: 1 });
  });

  it('Ray: an input that no longer fits goes to the back', async () => {
    const { batches, run } = recording();
    const queue = queueOf<number>(run, {
      autoStart: false,
      batchSize: 10,
      cost: (input) => input,
      maxCost: 10,
    });
    void queue.submitMany([4, 5, 3, 9, 1, 10, 2]);
    await queue.stop();
    expect(batches).toEqual([[4, 5], [3], [9, 1], [10], [2]]);
  });

  it('BentoML: polls every millisecond while something waits', async () => {
    const timers = jest.spyOn(globalThis, 'setTimeout');
    const immediates = jest.spyOn(globalThis, 'setImmediate');
    const queue = queueOf<number>(echo, { maxDelay: 60 });
    const waiting = queue.submitMany([1, 2]);
    await setTimeout(30);
    expect(timers).toHaveBeenCalledTimes(1);
    expect(immediates).toHaveBeenCalledTimes(1);
    timers.mockRestore();
    immediates.mockRestore();
    expect(await Promise.all(waiting)).toEqual([1, 2]);
  });

  it('BentoML: the queue is not bounded by default', async () => {
    const queue = queueOf<number>(echo, { autoStart: false });
    const taken = outcomes(queue.submitMany(Array.from({ length: 10_000 }, (_, input) => input)));
    await expect(queue.submit(1)).rejects.toBeInstanceOf(QueueFullError);
    await queue.stop();
    await taken;
  });

  it('BentoML: a full queue sheds the inputs that have waited longest', async () => {
    const queue = queueOf<number>(echo, { autoStart: false, maxQueued: 2 });
    const all = outcomes(queue.submitMany([1, 2, 3].values()));
    await queue.stop();
    expect(await all).toEqual([1, 2, expect.any(QueueFullError)]);
  });

  it('BentoML: the fit of the service time is undefined at a constant batch size', () => {
    const serviceTime = new ServiceTime();
    expect(serviceTime.of(8)).toBe(0);
    for (let batch = 0; batch < 50; batch++) serviceTime.record(8, 13 + (batch % 2), 20 * batch);
    expect(serviceTime.of(8)).toBeCloseTo(13.5, 0);
    expect(serviceTime.of(4)).toBeGreaterThan(10);
    expect(serviceTime.of(16)).toBeLessThan(17);
  });

  it('TorchServe, LitServe, mosec: the delay is paid again after every batch (mosec#382)', async () => {
    const { batches, run } = recording(60);
    const queue = queueOf<number>(run, { batchSize: 2, maxDelay: 40 });
    const first = queue.submitMany([1, 2]);
    await until(() => batches.length === 1);
    const late = queue.submit(3);
    await outcomes(first);
    // It has waited longer than maxDelay for a slot already.
    await setImmediate();
    await setImmediate();
    expect(queue.stats()).toMatchObject({ running: 1, waiting: 0 });
    expect(await late).toBe(3);
    expect(batches).toEqual([[1, 2], [3]]);
  });

  it('TorchServe, MLServer: a run that never ends hangs its callers and all inputs behind it', async () => {
    const queue = queueOf<number>((inputs: number[]) => (inputs[0] === 1 ? never() : inputs), {
      runTimeout: 20,
      batchSize: 1,
    });
    expect(await outcomes(queue.submitMany([1, 2]))).toEqual([expect.any(BatchTimeoutError), 2]);
    expectBalance(queue);
  });

  it('KServe, MLServer: an error of the batch is returned as success', async () => {
    const queue = queueOf(() => failure);
    const [first, second] = await outcomes(queue.submitMany([1, 2]));
    expect(first).toBeInstanceOf(BatchResultError);
    expect(first).toMatchObject({ expected: 2, received: 'an Error' });
    expect(second).toBe(first);
  });

  it('DataLoader: any number of batches run at once', async () => {
    const { run } = recording(5);
    const queue = queueOf<number>(run, { batchSize: 1, concurrency: 2 });
    const all = queue.submitMany([1, 2, 3, 4, 5]);
    let most = 0;
    while (queue.stats().settled < 5) {
      most = Math.max(most, queue.stats().runningBatches);
      await setImmediate();
    }
    expect(most).toBe(2);
    expect(await outcomes(all)).toEqual([1, 2, 3, 4, 5]);
  });

  it('DataLoader: requests never share a batch when the function blocks (tfjs#600, onnxruntime#19611)', async () => {
    const sizes: number[] = [];
    const later: Promise<number>[] = [];
    const blocking = (inputs: number[]) => {
      sizes.push(inputs.length);
      // Timers that come due while the loop is blocked stand for requests that arrive meanwhile.
      if (sizes.length === 1) later.push(...[1, 2, 3, 4, 5, 6].map(caller));
      block(20);
      return inputs;
    };
    const queue = queueOf<number>(blocking, { batchSize: 32, dispatch: 'eager' });
    const caller = async (delay: number) => {
      await setTimeout(delay);
      return queue.submit(delay);
    };
    await queue.submit(0);
    expect(await Promise.all(later)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(sizes).toEqual([1, 6]);
  });

  it('inbatches: too few results reach the wrong callers', async () => {
    const queue = queueOf((inputs: number[]) => inputs.filter((input) => input !== 1));
    const [first, ...others] = await outcomes(queue.submitMany([1, 2, 3]));
    expect(first).toMatchObject({ code: 'ERR_BATCHING_RESULT', expected: 3, received: '2 results' });
    expect(others).toEqual([first, first]);
  });

  it('@yornaath/batshit, @expo/batcher: a full batch waits out its window', async () => {
    const queue = queueOf<number>(echo, { maxDelay: 60_000 });
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, 2, 3]);
  });
});

describe('what users ask for', () => {
  it('LitServe#340, triton server#2764, infinity#609: one bad input fails all', async () => {
    const run = jest.fn((inputs: number[]) => {
      if (inputs.includes(5)) throw failure;
      return inputs;
    });
    const queue = queueOf<number>(run, { batchSize: 8, isolateErrors: true });
    expect(await outcomes(queue.submitMany([1, 2, 3, 4, 5, 6, 7, 8]))).toEqual([
      ...[1, 2, 3, 4],
      failure,
      ...[6, 7, 8],
    ]);
    expect(run.mock.calls.length - 1).toBeLessThanOrEqual(2 * Math.log2(8));
  });

  it('dataloader#58, pytorch/serve#1699, kserve#1666: a lone caller waits needlessly', async () => {
    for (const dispatch of ['adaptive', 'eager'] as const) {
      const queue = queueOf<number>(echo, { dispatch, maxDelay: 60_000 });
      for (let input = 0; input < 100; input++) expect(await queue.submit(input)).toBe(input);
      expect(queue.stats()).toMatchObject({ batches: 100, dispatches: { idle: 100 } });
    }
  });

  it('triton server#3624: small batches under load', async () => {
    const { batches, run } = recording(5);
    const queue = queueOf<number>(run, { batchSize: 8, dispatch: 'eager' });
    const until = performance.now() + 200;
    const caller = async (input: number) => {
      while (performance.now() < until) await queue.submit(input);
    };
    await Promise.all(Array.from({ length: 24 }, (_, input) => caller(input)));
    const sizes = batches.slice(1, -3).map(({ length }) => length);
    expect(sizes.length).toBeGreaterThan(5);
    expect(Math.min(...sizes)).toBe(8);
  });

  it('ray#41057, triton server#6920: cancelled work is still computed, or breaks the loop', async () => {
    const { batches, run } = recording(5);
    const queue = queueOf<number>(run);
    const first = queue.submitMany([1, 2, 3]);
    const controller = new AbortController();
    const gone = queue.submitMany([4, 5, 6, 7], { signal: controller.signal });
    const last = queue.submit(8);
    controller.abort(new Error('closed'));
    expect((await outcomes(gone)).map(String)).toEqual(Array(4).fill('Error: closed'));
    expect(await outcomes([...first, last])).toEqual([1, 2, 3, 8]);
    expect(batches.flat()).toEqual([1, 2, 3, 8]);
    expectBalance(queue);
  });

  it('OmniRoute#10111: after a stall, an idle queue does not refuse inputs that it could serve in time', async () => {
    jest.useFakeTimers();
    try {
      for (const concurrency of [1, 3]) {
        for (const stall of [3000, 10_000]) {
          for (const burst of [12, 40]) {
            for (const usual of [0, 1, 20]) {
              let ms = 30;
              const run = async (inputs: readonly number[]) => {
                await new Promise((resolve) => globalThis.setTimeout(resolve, ms));
                return inputs;
              };
              const lane = new Lane(concurrency);
              const queue = queueOf<number>(run, { batchSize: 16, maxDelay: 5, concurrency, lane });
              const serve = async (count: number, timeout?: number) => {
                let ended: unknown[] | undefined;
                void outcomes(queue.submitMany(Array<number>(count).fill(1), { timeout })).then(
                  (all) => (ended = all),
                );
                while (!ended) await jest.advanceTimersByTimeAsync(ms);
                return ended.filter((outcome) => outcome instanceof Error).length;
              };
              for (let round = 0; round < usual; round++) await serve(3);
              ms = stall;
              await serve(16 * concurrency);
              ms = 30;
              const refused = [await serve(burst, 1000), await serve(burst, 1000)];
              // Where nothing but the stall is known, the first batch of the first burst is what corrects it.
              expect(refused).toEqual([usual > 1 || burst < 16 * concurrency ? 0 : expect.any(Number), 0]);
            }
          }
        }
      }
    } finally {
      jest.useRealTimers();
    }
  });

  it('OmniRoute#10111: `retryAfter` is never 0', async () => {
    for (const batchSize of [1, 2, Infinity]) {
      const queue = queueOf<number>(echo, { batchSize, maxQueued: 2 });
      for (let round = 0; round < 3; round++) {
        const [, , refused] = await outcomes(queue.submitMany([1, 2, 3].values()));
        expect((refused as QueueFullError).retryAfter).toBeGreaterThanOrEqual(1);
        expect((refused as QueueFullError).retryAfter).toBeLessThan(1000);
      }
    }
  });

  it('TEI#378: more inputs in one call than the queue holds are refused, and none of them runs', async () => {
    const { batches, run } = recording();
    const queue = queueOf<number>(run, { maxQueued: 20 });
    const inputs = Array.from({ length: 30 }, (_, input) => input);
    for (const many of [inputs, new Set(inputs), Float32Array.from(inputs), { length: 30 } as never]) {
      const refused = await outcomes(queue.submitMany(many));
      expect(refused).toHaveLength(30);
      for (const error of refused) expect(error).toBeInstanceOf(TooManyInputsError);
      expect(refused[0]).toMatchObject({ code: 'ERR_BATCHING_TOO_MANY', count: 30, maxQueued: 20 });
      expect(refused[0]).not.toHaveProperty('retryAfter');
    }
    expect(batches).toEqual([]);
    expect(queue.stats()).toMatchObject({ submitted: 120, dropped: 120, drops: { full: 120 }, waiting: 0 });
    expectBalance(queue);
    // A number that is wrong or not known goes on one by one, as does what the queue holds.
    const claimed = Object.assign(new Set([1]), { length: 99 });
    for (const some of [inputs.slice(0, 20), claimed]) {
      expect(await outcomes(queue.submitMany(some))).toEqual([...some]);
    }
    const unknown = await outcomes(queue.submitMany(inputs.values()));
    expect(unknown.filter((one) => one instanceof QueueFullError)).toHaveLength(10);
  });

  it('TEI#378: more inputs in one call than the queue holds run with `onFull: wait`, or without a limit', async () => {
    const inputs = Array.from({ length: 30 }, (_, input) => input);
    for (const more of [{ maxQueued: 20, onFull: 'wait' }, { maxQueued: 0 }, { maxQueued: 30 }] as const) {
      expect(await outcomes(queueOf<number>(echo, more).submitMany(inputs))).toEqual(inputs);
    }
  });

  it('TEI#378: for too many inputs, a stopped queue or an aborted signal is the error that is reported', async () => {
    const queue = queueOf<number>(echo, { maxQueued: 2 });
    const gone = await outcomes(queue.submitMany([1, 2, 3], { signal: AbortSignal.abort(failure) }));
    expect(gone).toEqual([failure, failure, failure]);
    await queue.stop();
    const [stopped] = await outcomes(queue.submitMany([1, 2, 3]));
    expect(stopped).toBeInstanceOf(ServiceStoppedError);
    expect(queue.stats().drops).toEqual({ aborted: 3, timeout: 0, full: 0, stopped: 3 });
  });

  it('ray#59059, BentoML#3859: batches are counted in inputs only, not in tokens or bytes', async () => {
    const { batches, run } = recording<string>();
    const queue = queueOf<string, string>(run, {
      batchSize: 100,
      cost: (text) => text.length,
      maxCost: 8,
    });
    await Promise.all(queue.submitMany(['four', 'four', 'a', 'longer', 'b', 'c']));
    expect(batches).toEqual([['four', 'four'], ['a', 'longer', 'b'], ['c']]);
  });

  it('triton server#7124, #6937: shapes that do not fit each other share a batch', async () => {
    const { batches, run } = recording<number[]>();
    const queue = queueOf<number[], number[]>(run, { autoStart: false, groupBy: ({ length }) => length });
    void queue.submitMany([[1], [1, 2], [3], [3, 4], [5]]);
    await queue.stop();
    for (const batch of batches) expect(new Set(batch.map(({ length }) => length)).size).toBe(1);
    expect(batches).toHaveLength(2);
  });

  it('triton server#5927, ray#59218: the wait in the queue cannot be distinguished from the run time', async () => {
    const { run } = recording(40);
    const queue = queueOf<number>(run, { batchSize: 1 });
    const reports: { waited: number; ran: number }[] = [];
    queue.onBatch((report) => reports.push(report));
    await Promise.all(queue.submitMany([1, 2]));
    const [first, second] = reports;
    expect(first?.waited).toBeLessThan(35);
    expect(first?.ran).toBeGreaterThan(35);
    expect(second?.waited).toBeGreaterThan(35);
    const { waitTime, runTime } = queue.stats();
    expect(waitTime.max).toBeCloseTo(second?.waited ?? NaN);
    expect(runTime.p50).toBeGreaterThan(35);
  });

  it('triton server#8979: an autoscaler cannot see that the queue falls behind', async () => {
    const queue = queueOf<number>(never, { batchSize: 2, maxQueued: 3 });
    void outcomes(queue.submitMany([1, 2]));
    await until(() => queue.stats().runningBatches === 1);
    void outcomes(queue.submitMany([3, 4, 5, 6].values()));
    // Backlog, slots in use, slots in total, and refused inputs; beside waitTime and runTime.
    expect(queue.stats()).toMatchObject({
      waiting: 3,
      runningBatches: 1,
      options: { concurrency: 1, maxQueued: 3 },
      drops: { full: 1 },
    });
    await queue.stop({ timeout: 0 });
  });

  it('ray#36844: settings cannot be changed without a restart', async () => {
    const { batches, run } = recording();
    const queue = queueOf<number>(run, { maxDelay: Infinity });
    const [first, second] = queue.submitMany([1, 2]);
    queue.batchSize = 2;
    expect(await Promise.all([first, second])).toEqual([1, 2]);
    const third = queue.submit(3);
    await setImmediate();
    queue.maxDelay = 0;
    expect(await third).toBe(3);
    expect(batches).toEqual([[1, 2], [3]]);
  });

  it('ray#42950: no backpressure', async () => {
    const { run } = recording(1);
    const queue = queueOf<number>(run, { batchSize: 2, maxQueued: 2, onFull: 'wait' });
    let most = 0;
    queue.onBatch(() => (most = Math.max(most, queue.stats().waiting)));
    const inputs = Array.from({ length: 20 }, (_, input) => input);
    expect(await Promise.all(queue.submitMany(inputs))).toEqual(inputs);
    expect(most).toBe(2);
  });

  it('MLServer#1306: inputs with different parameters get each other’s results', async () => {
    interface Query {
      text: string;
      upper: boolean;
    }
    const queue = queueOf<string, Query>(
      (inputs: Query[]) => inputs.map(({ text, upper }) => (upper ? text.toUpperCase() : text)),
      { groupBy: ({ upper }) => upper },
    );
    const queries = ['a', 'b', 'c', 'd', 'e'].map((text, index) => ({ text, upper: index % 2 === 0 }));
    expect(await Promise.all(queue.submitMany(queries))).toEqual(['A', 'b', 'C', 'd', 'E']);
  });

  it('a shutdown loses inputs that come late', async () => {
    const { run } = recording(10);
    const queue = queueOf<number>(run, { batchSize: 1 });
    const early = queue.submit(1);
    await until(() => queue.stats().running === 1);
    const drained = queue.drain();
    // A drain goes on taking inputs; a stop runs these too, and refuses later ones with an error of its own.
    const late = queue.submit(2);
    const stopped = queue.stop();
    const all = outcomes([early, late, queue.submit(3)]);
    await Promise.all([drained, stopped]);
    expect(await all).toEqual([1, 2, expect.any(ServiceStoppedError)]);
  });
});

describe('what the reference gets wrong', () => {
  it('the clock of the delay starts before the first input has come', async () => {
    const queue = queueOf<number>(echo, { maxDelay: 50 });
    await setTimeout(80);
    const first = queue.submit(1);
    await setTimeout(20);
    expect(queue.stats().waiting).toBe(1);
    expect(await first).toBe(1);
  });

  it.each<[string, unknown]>([
    [
      'throws',
      () => {
        throw failure;
      },
    ],
    ['rejects', () => Promise.reject(failure)],
    [
      'throws later',
      async () => {
        await setTimeout(2);
        throw failure;
      },
    ],
  ])('a batch function that %s ends the service, and its callers hang', async (_, broken) => {
    const fail = broken as BatchFunction<number, number>;
    const queue = queueOf<number>((inputs: number[], batch: BatchContext) =>
      inputs.includes(0) ? fail(inputs, batch) : inputs,
    );
    // Every caller gets the same error, and the next batch runs.
    expect(await outcomes(queue.submitMany([0, 1, 2]))).toEqual([failure, failure, failure]);
    expect(await outcomes(queue.submitMany([3, 4, 5]))).toEqual([3, 4, 5]);
    expectBalance(queue);
  });

  it('too few results leave callers waiting for ever, without an error', async () => {
    const queue = queueOf(() => []);
    await expect(queue.submit(1)).rejects.toThrow('must return an array of 1 results');
  });

  it('a stop loses a partial batch', async () => {
    const queue = queueOf<number>(echo, { maxDelay: 60_000 });
    const collected = queue.submitMany([1, 2]);
    await setImmediate();
    await queue.stop();
    expect(await Promise.all(collected)).toEqual([1, 2]);
  });

  it('a hard stop leaves the callers of dropped inputs waiting for ever', async () => {
    const queue = queueOf<number>(echo, { maxDelay: 60_000 });
    const dropped = outcomes(queue.submitMany([1, 2]));
    await queue.stop({ hard: true });
    expect(await dropped).toEqual([expect.any(ServiceStoppedError), expect.any(ServiceStoppedError)]);
  });

  it('an input whose caller has given up is still run', async () => {
    const { batches, run } = recording(20);
    const queue = queueOf<number>(run, { batchSize: 1 });
    const [first, second] = [queue.submit(1), queue.submit(2, { timeout: 5 })];
    expect(await outcomes([first, second])).toEqual([1, expect.any(BatchTimeoutError)]);
    await setTimeout(5);
    expect(batches).toEqual([[1]]);
  });
});

describe('concurrency', () => {
  it('may be Infinity, as batchSize and maxQueued may: no batch waits for a slot', async () => {
    const release: (() => void)[] = [];
    const queue = queueOf<number>(
      (inputs: number[]) =>
        new Promise((resolve) => {
          release.push(() => {
            resolve(inputs);
          });
        }),
      { batchSize: 2, concurrency: Infinity, lane: new Lane(Infinity), maxQueued: 100 },
    );
    const all = queue.submitMany(Array.from({ length: 100 }, (_, input) => input));
    await until(() => release.length === 50);
    expect(queue.stats()).toMatchObject({ runningBatches: 50, running: 100, waiting: 0 });
    const late = queue.submit(100, { timeout: 60_000 });
    await until(() => release.length === 51);
    release.forEach((end) => {
      end();
    });
    expect(await outcomes([...all, late])).toEqual(Array.from({ length: 101 }, (_, input) => input));
  });
});

describe('a batch function that', () => {
  it('returns a typed array: each caller gets its number', async () => {
    const halves = asBatchedService(
      4,
      1,
    )((inputs: number[]) => Float32Array.from(inputs, (input) => input / 2));
    // Its type is a number too.
    const [first = 0, second = 0]: number[] = await Promise.all(halves.submitMany([1, 2]));
    expect([first, second]).toEqual([0.5, 1]);
    const longs = queueOf((inputs: number[]) => Promise.resolve(BigInt64Array.from(inputs.map(BigInt))));
    expect(await outcomes(longs.submitMany([1, 2]))).toEqual([1n, 2n]);
    const isolated = queueOf(
      (inputs: number[]) => {
        if (inputs.includes(2)) throw failure;
        return Uint8Array.from(inputs);
      },
      { isolateErrors: true },
    );
    expect(await outcomes(isolated.submitMany([1, 2, 3]))).toEqual([1, failure, 3]);
    for (const [result, received] of [
      [new Uint8Array(3), '3 results'],
      [new DataView(new ArrayBuffer(2)), 'a DataView'],
      [new ArrayBuffer(2), 'an ArrayBuffer'],
    ]) {
      const [error] = await outcomes(queueOf(() => result).submitMany([1, 2]));
      expect(error).toMatchObject({ code: 'ERR_BATCHING_RESULT', expected: 2, received });
    }
  });

  it('throws a value that is not an Error: it reaches the callers unchanged', async () => {
    const queue = queueOf(() => Promise.reject('a string')); // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
    expect(await outcomes(queue.submitMany([1, 2]))).toEqual(['a string', 'a string']);
  });

  it.each<[string, unknown, string]>([
    ['too many results', [1, 2, 3, 4], '4 results'],
    ['nothing', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a string of the right length', 'abc', "'abc'"],
    ['an object with a length', { length: 3 }, 'an Object'],
    ['a Map', new Map(), 'a Map, which needs keyBy'],
  ])('returns %s: a BatchResultError that says so', async (_, returned, received) => {
    for (const value of [returned, Promise.resolve(returned)]) {
      const queue = queueOf(() => value);
      const [first, ...others] = await outcomes(queue.submitMany([1, 2, 3]));
      expect(first).toBeInstanceOf(BatchResultError);
      expect(first).toMatchObject({ code: 'ERR_BATCHING_RESULT', expected: 3, received });
      expect(others).toEqual([first, first]);
      expectBalance(queue);
    }
  });

  it('returns the same promise twice: the results are used only for a batch of the same size', async () => {
    const once = Promise.resolve([1, 2]);
    const queue = queueOf(() => once, { batchSize: 2 });
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, 2, expect.any(BatchResultError)]);
  });

  it('returns results with a getter that throws: only the caller in that place gets the error', async () => {
    const queue = queueOf((inputs: number[]) =>
      Object.defineProperty([...inputs], 1, {
        get: () => {
          throw failure;
        },
      }),
    );
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([1, failure, 3]);
    expectBalance(queue);
  });

  it('empties its inputs: the results still find their callers', async () => {
    const queue = queueOf((inputs: number[]) => inputs.splice(0).map((input) => input + 1));
    expect(await outcomes(queue.submitMany([1, 2, 3]))).toEqual([2, 3, 4]);
    expectBalance(queue);
  });

  it('never returns: callers with a timeout do not hang, and other slots go on', async () => {
    const queue = queueOf<number>((inputs: number[]) => (inputs[0] === 0 ? never() : inputs), {
      batchSize: 1,
      concurrency: 2,
    });
    const stuck = queue.submit(0, { timeout: 20 });
    expect(await queue.submit(1)).toBe(1);
    await expect(stuck).rejects.toBeInstanceOf(BatchTimeoutError);
    expectBalance(queue);
  });

  it('calls its own queue: the inner input waits for a slot of its own', async () => {
    const queue: BatchQueue<number, number> = queueOf(
      (inputs: number[]) =>
        Promise.all(inputs.map(async (input) => (input > 0 ? queue.submit(input - 1) : 0))),
      { concurrency: 4 },
    );
    expect(await queue.submit(3)).toBe(0);
  });
});

describe('callers', () => {
  it('that submit in a continuation of a batch get their results', async () => {
    const queue = queueOf<number>(echo);
    const chain = async (left: number): Promise<number> =>
      left === 0 ? 0 : chain((await queue.submit(left)) - 1);
    expect(await Promise.all([chain(20), chain(20), chain(20)])).toEqual([0, 0, 0]);
  });

  it('that submit and abort in one turn do not block an adaptive queue', async () => {
    const queue = queueOf<number>(echo, { dispatch: 'adaptive' });
    const controller = new AbortController();
    const gone = queue.submit(1, { signal: controller.signal });
    controller.abort(new Error('gone'));
    await expect(gone).rejects.toThrow('gone');
    expect(await queue.submit(2)).toBe(2);
    expectBalance(queue);
  });

  it('that abort in the handler of another result are dropped before the next batch', async () => {
    const queue = queueOf<number>(echo, { batchSize: 1 });
    const controller = new AbortController();
    const second = queue.submit(1).then(() => {
      controller.abort(new Error('enough'));
    });
    const third = queue.submit(2, { signal: controller.signal });
    await second;
    await expect(third).rejects.toThrow('enough');
    expectBalance(queue);
  });

  it('with a timeout that cannot be met are rejected at once, and waiting inputs are not affected', async () => {
    const { batches, run } = recording(20);
    const queue = queueOf<number>(run, { batchSize: 1 });
    await queue.submit(0);
    const waiting = queue.submitMany([1, 2, 3]);
    const refused = outcomes(queue.submitMany([4, 5], { timeout: 15 }));
    expect(queue.stats()).toMatchObject({ waiting: 3, drops: { timeout: 2 } });
    expect(await refused).toEqual([expect.any(DeadlineError), expect.any(DeadlineError)]);
    expect(await Promise.all(waiting)).toEqual([1, 2, 3]);
    expect(batches).toHaveLength(4);
  });
});

describe('many at once', () => {
  /** A batch that runs until `finish`, and its callers. */
  async function running(size: number, more: SubmitOptions = {}) {
    let finish = (): void => undefined;
    const gate = new Promise<void>((resolve) => (finish = resolve));
    const signals: AbortSignal[] = [];
    const queue = queueOf<number>(
      async (inputs: number[], batch: BatchContext) => {
        signals.push(batch.signal);
        await gate;
        return inputs;
      },
      { batchSize: size, maxQueued: Infinity },
    );
    const results = outcomes(
      queue.submitMany(
        Array.from({ length: size }, (_, input) => input),
        more,
      ),
    );
    await until(() => queue.stats().running === size);
    return { queue, results, finish, signals };
  }

  it('p-queue#27, #20: 20,000 drains during one batch all end, and so do its callers', async () => {
    const { queue, results, finish } = await running(4);
    const drains = Array.from({ length: 20_000 }, () => queue.drain());
    finish();
    await Promise.all(drains);
    expect(await results).toEqual([0, 1, 2, 3]);
    expectBalance(queue);
  });

  it('p-queue#27: 12,000 stops during one batch all end, at the earliest of their time limits', async () => {
    const { queue, results } = await running(2);
    const stops = Array.from({ length: 12_000 }, (_, index) =>
      queue.stop({ timeout: index === 6000 ? 1 : 60_000 }),
    );
    await Promise.all(stops);
    expect(await results).toEqual([expect.any(ServiceStoppedError), expect.any(ServiceStoppedError)]);
    expect(queue.stats()).toMatchObject({ state: 'stopped', running: 0 });
  });

  it('p-queue#20: 5,000 handlers that submit and drain, each with a drain of its own', async () => {
    const { queue, results, finish } = await running(1);
    let ended = 0;
    const handlers = Array.from({ length: 5000 }, async (_, input) => {
      const result = queue.submit(input);
      const drained = queue.drain();
      await result;
      ended++;
      await drained;
      return ended;
    });
    finish();
    const endedBefore = await Promise.all(handlers);
    // In order: when a drain has ended, so have all inputs before it.
    endedBefore.forEach((count, index) => {
      expect(count).toBeGreaterThan(index);
    });
    await results;
  });

  it('a drain waits for what earlier drains wait for, also when its own inputs end first', async () => {
    let finish = (): void => undefined;
    const gate = new Promise<void>((resolve) => (finish = resolve));
    const queue = queueOf<number>(
      async (inputs: number[]) => {
        if (inputs[0] === 0) await gate;
        return inputs;
      },
      { batchSize: 1, concurrency: 2 },
    );
    const order: string[] = [];
    void queue.submit(0);
    const drains = [queue.drain().then(() => order.push('first'))];
    await queue.submit(1).then(() => order.push('input'));
    void queue.submit(2);
    drains.push(
      queue.drain().then(() => order.push('second')),
      queue.drain().then(() => order.push('third')),
    );
    await until(() => queue.stats().results === 2);
    await setImmediate();
    finish();
    await Promise.all(drains);
    expect(order).toEqual(['input', 'first', 'second', 'third']);
    await queue.drain();
  });

  it('one signal over 100,000 running inputs: giving up does not iterate over the others', async () => {
    const caller = new AbortController();
    const { queue, results, finish, signals } = await running(100_000, { signal: caller.signal });
    caller.abort('gone');
    expect(queue.stats()).toMatchObject({ running: 0, errors: 100_000 });
    expect(signals[0]?.aborted).toBe(true);
    finish();
    expect(new Set(await results)).toEqual(new Set(['gone']));
  });

  it('2,000 timeouts in one batch: the batch is aborted when all its callers have gone', async () => {
    jest.useFakeTimers();
    try {
      let signal: AbortSignal | undefined;
      const queue = queueOf(
        (_: number[], batch: BatchContext) => {
          ({ signal } = batch);
          return never();
        },
        { batchSize: Infinity },
      );
      const inputs = Array.from({ length: 2000 }, (_, input) => input);
      const results = outcomes(queue.submitMany(inputs, { timeout: 50 }));
      await jest.advanceTimersByTimeAsync(10);
      expect(queue.stats().running).toBe(2000);
      expect(signal?.aborted).toBe(false);
      await jest.advanceTimersByTimeAsync(50);
      expect(signal?.aborted).toBe(true);
      expect(queue.stats()).toMatchObject({ running: 0, errors: 2000 });
      const ends = await results;
      expect(ends[1999]).toBeInstanceOf(BatchTimeoutError);
    } finally {
      jest.useRealTimers();
    }
  });
});

describe('a long backlog', () => {
  it('does not starve the event loop: after a batch that blocked it, a turn passes', async () => {
    const queue = queueOf<number>(
      (inputs: number[]) => {
        block(2);
        return inputs;
      },
      { batchSize: 1 },
    );
    let turns = 0;
    const all = queue.submitMany(Array.from({ length: 20 }, (_, input) => input));
    while (queue.stats().settled < 20) {
      await setImmediate();
      turns++;
    }
    await Promise.all(all);
    expect(turns).toBeGreaterThanOrEqual(20);
  });
});

describe('signals', () => {
  /** An old polyfill: no `reason`, and what a test needs is missing or broken. */
  class OldSignal extends EventTarget {
    aborted = false;
    abort(): void {
      this.aborted = true;
      this.dispatchEvent(new Event('abort'));
    }
  }
  const asSignal = (signal: object) => signal as AbortSignal;

  it.each<[string, (signal: OldSignal) => void, string]>([
    ['no reason', () => undefined, 'AbortError'],
    [
      'a reason that throws',
      (signal) =>
        Object.defineProperty(signal, 'reason', {
          get: () => {
            throw failure;
          },
        }),
      'AbortError',
    ],
    ['a reason of null', (signal) => Object.assign(signal, { reason: null }), 'null'],
    [
      'no removeEventListener',
      (signal) => Object.assign(signal, { removeEventListener: undefined, reason: 'gone' }),
      'gone',
    ],
    [
      'a removeEventListener that throws',
      (signal) =>
        Object.assign(signal, {
          reason: 'gone',
          removeEventListener: () => {
            throw failure;
          },
        }),
      'gone',
    ],
  ])('with %s: each caller gets its own end, waiting, running or before', async (_, change, expected) => {
    const { run } = recording(5);
    const queue = queueOf<number>(run);
    const said = async (promise: Promise<unknown>) =>
      promise.then(
        (result) => result,
        (reason: unknown) => (reason instanceof DOMException ? reason.name : String(reason)),
      );
    const signalOf = () => {
      const signal = new OldSignal();
      change(signal);
      return signal;
    };
    // The signal is also used for inputs that end before it aborts.
    const signal = signalOf();
    const options = { signal: asSignal(signal) };
    expect(await outcomes(queue.submitMany([1, 2, 3, 4], options))).toEqual([1, 2, 3, 4]);
    const ends = [...queue.submitMany([1, 2, 3, 4], options), queue.submit(5)].map(said);
    await until(() => queue.stats().running === 3);
    signal.abort();
    ends.push(said(queue.submit(6, options)));
    expect(await Promise.all(ends)).toEqual([...Array<string>(4).fill(expected), 5, expected]);
    expect(queue.stats().drops.aborted).toBe(2);
    expectBalance(queue);
  });

  it('without removeEventListener get one listener, however often they are used', async () => {
    const queue = queueOf<number>(echo);
    const signal = Object.assign(new OldSignal(), { removeEventListener: undefined });
    const add = jest.spyOn(signal, 'addEventListener');
    for (let round = 0; round < 3; round++) await queue.submit(round, { signal: asSignal(signal) });
    expect(add).toHaveBeenCalledTimes(1);
  });

  it('whose addEventListener throws: the caller is refused with that, and its input is not run', async () => {
    const { batches, run } = recording();
    const queue = queueOf<number>(run, { maxQueued: 2, onFull: 'wait' });
    const signal = asSignal({
      aborted: false,
      addEventListener: () => {
        throw failure;
      },
    });
    const inputs = [
      queue.submit(1, { signal, timeout: 60_000 }),
      ...queue.submitMany([2, 3, 4]),
      queue.submit(5, { signal }),
      queue.submit(6),
    ];
    expectBalance(queue);
    expect(await outcomes(inputs)).toEqual([failure, 2, 3, 4, failure, 6]);
    expect(batches.flat()).toEqual([2, 3, 4, 6]);
    expectBalance(queue);
    await queue.drain();
  });

  it('that abort while they are given a listener, calling it twice, once or not at all', async () => {
    const { batches, run } = recording();
    const queue = queueOf<number>(run);
    const signals = [2, 1, 0].map((times) => {
      const signal = { aborted: false, reason: `gone ${times}` };
      const addEventListener = (_: string, listener: () => void) => {
        signal.aborted = true;
        for (let time = 0; time < times; time++) listener();
      };
      return asSignal(Object.assign(signal, { addEventListener }));
    });
    const inputs = signals.map((signal, input) => queue.submit(input, { signal }));
    expect(await outcomes([...inputs, queue.submit(3)])).toEqual(['gone 2', 'gone 1', 'gone 0', 3]);
    expect(batches).toEqual([[3]]);
    expect(queue.stats()).toMatchObject({ submitted: 4, drops: { aborted: 3 } });
    expectBalance(queue);
  });

  it.each(['cost', 'groupBy'] as const)('that %s aborts: the input is dropped, not run', async (option) => {
    const { batches, run } = recording();
    const caller = new AbortController();
    const of = (input: number) => {
      if (input === 2) caller.abort('gone');
      return 1;
    };
    const queue = queueOf<number>(run, { [option]: of });
    const inputs = [1, 2, 3].map((input) =>
      queue.submit(input, input === 2 ? { signal: caller.signal } : {}),
    );
    expect(await outcomes(inputs)).toEqual([1, 'gone', 3]);
    expect(batches).toEqual([[1, 3]]);
    expect(queue.stats()).toMatchObject({ submitted: 3, drops: { aborted: 1 } });
    expectBalance(queue);
  });

  it('that abort others of the batch while it is settled: batch.signal aborts with the last', async () => {
    const contexts: BatchContext[] = [];
    const queue = queueOf<number>((inputs: number[], batch: BatchContext) => {
      contexts.push(batch);
      return inputs;
    });
    const caller = new AbortController();
    const first = Object.assign(new OldSignal(), {
      removeEventListener: () => {
        caller.abort('gone');
      },
    });
    const inputs = [
      queue.submit(1, { signal: asSignal(first) }),
      ...queue.submitMany([2, 3], { signal: caller.signal }),
    ];
    expect(await outcomes(inputs)).toEqual([1, 'gone', 'gone']);
    expect(contexts[0]?.signal).toMatchObject({ aborted: true, reason: 'gone' });
    expect(queue.stats()).toMatchObject({ results: 1, errors: 2, running: 0 });
  });
});

describe('what users pass in', () => {
  const unprintable = [
    Object.create(null) as unknown,
    {
      toString: () => {
        throw failure;
      },
    },
    new Proxy(
      {},
      {
        get: () => {
          throw failure;
        },
      },
    ),
    Symbol('odd'),
    undefined,
  ];

  it('is read once: options with getters that throw, or change, are their caller’s alone', async () => {
    const queue = queueOf<number>(echo);
    let reads = 0;
    const changing = {
      get priority() {
        return reads++ === 0 ? 1 : NaN;
      },
    };
    const throwing = {
      get timeout(): number {
        throw failure;
      },
    };
    const inputs = [queue.submit(1, changing), queue.submit(2, throwing), queue.submit(3)];
    expect(await outcomes(inputs)).toEqual([1, failure, 3]);
    expect(reads).toBe(1);
    expectBalance(queue);
  });

  it('an iterable that throws half way: none of its inputs is taken in', () => {
    const queue = queueOf<number>(echo);
    const inputs = function* () {
      yield 1;
      throw failure;
    };
    expect(() => queue.submitMany(inputs())).toThrow(failure);
    expect(queue.stats().submitted).toBe(0);
  });

  it('as cost and groupBy, and drains or stops the queue: what it is asked for comes after that', async () => {
    let drained: Promise<void> | undefined;
    const queue: BatchQueue<number, number> = queueOf(echo, {
      maxDelay: 60_000,
      groupBy: (input: number) => {
        if (input === 2) drained = queue.drain();
        if (input === 4) void queue.stop();
        return 0;
      },
    });
    const inputs = [1, 2, 3].map((input) => queue.submit(input));
    await drained;
    expect(queue.stats()).toMatchObject({ results: 3, waiting: 0 });
    const last = [queue.submit(4), queue.submit(5)];
    expect(await outcomes([...inputs, ...last])).toEqual([
      1,
      2,
      3,
      expect.any(ServiceStoppedError),
      expect.any(ServiceStoppedError),
    ]);
    expectBalance(queue);
  });

  it('as groupBy, and drains and aborts all there is: a later drain waits for what it is asked for', async () => {
    const caller = new AbortController();
    const { batches, run } = recording();
    const queue: BatchQueue<number, number> = queueOf(run, {
      maxDelay: 60_000,
      groupBy: (input: number) => {
        if (input === 1) return 0;
        void queue.drain();
        caller.abort('gone');
        return 0;
      },
    });
    const inputs = outcomes([queue.submit(1, { signal: caller.signal }), queue.submit(2)]);
    await queue.drain();
    expect(batches).toEqual([[2]]);
    expect(await inputs).toEqual(['gone', 2]);
  });

  it('is a cost of Infinity or of nothing: that input’s error, and the sum of costs stays a number', async () => {
    const costs: unknown[] = [1, Infinity, undefined];
    const cost = (input: number) => costs[input] as number;
    const queue = queueOf<number>(echo, { cost, maxQueuedCost: 10, autoStart: false });
    const first = outcomes(queue.submitMany([0, 1, 2]));
    const later = outcomes(queue.submitMany(Array<number>(9).fill(0)));
    queue.start();
    expect((await first).map(String)).toEqual([
      '0',
      'RangeError: cost: expected a finite number, got Infinity',
      'TypeError: cost: expected a number ≥ 0, got undefined',
    ]);
    expect(await later).toEqual(Array(9).fill(0));
    expectBalance(queue);
  });

  it('event-emitter#688: cost and groupBy that are async: that input’s TypeError, nothing unhandled', async () => {
    // In a process of its own: Node ends it after an unhandled rejection.
    const program = `
      import { BatchQueue } from './libs/batching/src/core/batch-queue.js';
      const ends = [];
      for (const option of ['cost', 'groupBy']) {
        for (const of of [async () => 'a', async () => { throw new Error('none'); }, () => ({ then() {} })]) {
          const queue = new BatchQueue((inputs) => inputs, {
            batchSize: 4, maxDelay: 1, [option]: (input) => input > 0 ? of() : 0,
          });
          for (const end of await Promise.allSettled(queue.submitMany([0, 1]))) ends.push(String(end.reason ?? end.value));
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
      console.log(JSON.stringify(ends));`;
    const root = fileURLToPath(new URL('../../../..', import.meta.url));
    const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
    const asyncCost = 'TypeError: cost: expected a number ≥ 0, got ';
    const asyncGroup = 'TypeError: groupBy: expected a key, got ';
    expect(JSON.parse(stdout)).toEqual([
      ...['a Promise', 'a Promise', 'an Object'].flatMap((given) => ['0', asyncCost + given]),
      ...['a Promise', 'a Promise', 'an Object'].flatMap((given) => [
        '0',
        `${asyncGroup}${given}; it must not be async`,
      ]),
    ]);
  }, 20_000);

  it('is thrown by cost and groupBy, and cannot be printed: it rejects that input as it is', async () => {
    for (const thrown of unprintable) {
      for (const option of ['cost', 'groupBy']) {
        const odd = (input: number) => {
          if (input === 2) throw thrown;
          return 1;
        };
        const queue = queueOf<number>(echo, { [option]: odd });
        const [first, second, third] = await outcomes(queue.submitMany([1, 2, 3]));
        expect([first, third]).toEqual([1, 3]);
        expect(Object.is(second, thrown)).toBe(true);
        expectBalance(queue);
      }
    }
  });

  it('is returned for costs, keys, settings and results, and cannot be printed: a typed error all the same', async () => {
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    for (const odd of [...unprintable.slice(0, 4), proxy]) {
      const priced = queueOf<number>(echo, { cost: (input) => (input === 2 ? odd : 1) as number });
      expect(await outcomes(priced.submitMany([1, 2, 3]))).toEqual([1, expect.any(TypeError), 3]);
      const asked = queueOf<number>(echo);
      const timeout = odd as number;
      const signal = odd as AbortSignal;
      const inputs = [asked.submit(1, { timeout }), asked.submit(2), asked.submit(3, { signal })];
      expect((await outcomes(inputs))[1]).toBe(2);
      expectBalance(asked);
      expect(() => queueOf(echo, { name: odd as string })).toThrow(TypeError);
      expect(() => queueOf(odd)).toThrow(TypeError);
      const answering = queueOf(() => odd);
      const [first, second] = await outcomes(answering.submitMany([1, 2]));
      expect(first).toBeInstanceOf(Error);
      expect(second).toBe(first);
      expectBalance(answering);
    }
  });

  it('as a batch function, with a name that is no string: the queue is called something', () => {
    const odd = Object.defineProperty(() => [], 'name', { value: 5 });
    expect(queueOf(odd).name).toBe('batch queue');
  });
});

describe('observers', () => {
  it('that throw affect no caller and are reported by a process warning', async () => {
    const queue = queueOf<number>(echo);
    const warnings: string[] = [];
    const warn = jest
      .spyOn(process, 'emitWarning')
      .mockImplementation((text) => void warnings.push(String(text)));
    const others = jest.fn();
    queue.onBatch(() => {
      throw new Error('bad observer');
    });
    queue.onBatch(others);
    expect(await outcomes(queue.submitMany([1, 2, 3, 4]))).toEqual([1, 2, 3, 4]);
    await setImmediate();
    warn.mockRestore();
    expect(others).toHaveBeenCalledTimes(2);
    expect(warnings[0]).toContain('bad observer');
  });

  it('event-emitter#688: that reject, or throw what cannot be printed, do not stop the queue either', async () => {
    const queue = queueOf<number>(echo);
    const warnings: string[] = [];
    const warn = jest
      .spyOn(process, 'emitWarning')
      .mockImplementation((text) => void warnings.push(String(text)));
    const throwing = (thrown: unknown) => () => {
      throw thrown;
    };
    const listen: (listener: () => unknown) => void = queue.onBatch.bind(queue);
    listen(async () => {
      await setImmediate();
      throw new Error('async');
    });
    listen(() => Promise.reject(Object.create(null))); // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
    queue.onBatch(() => Object.defineProperty({}, 'then', { get: throwing(new Error('then')) }));
    queue.onBatch(throwing(Object.create(null)));
    queue.onBatch(throwing({ toString: throwing(failure) }));
    queue.onBatch(throwing(Symbol('odd')));
    const others = jest.fn();
    queue.onBatch(others);
    for (let round = 0; round < 2; round++) expect(await queue.submit(round)).toBe(round);
    await until(() => warnings.length === 12);
    warn.mockRestore();
    expect(others).toHaveBeenCalledTimes(2);
    const texts = ['Error: then', 'an Object', 'an Object', 'Symbol(odd)', 'an Object', 'Error: async'];
    expect(warnings.slice(0, 6).sort()).toEqual(
      texts.map((text) => `a listener of echo threw: ${text}`).sort(),
    );
    expect(() => queue.onBatch(undefined as never)).toThrow('onBatch: expected a function, got undefined');
  });

  it('that add observers are called once a batch', async () => {
    const queue = queueOf<number>(echo);
    const calls: number[] = [];
    const listener = (depth: number) => () => {
      calls.push(depth);
      queue.onBatch(listener(depth + 1));
    };
    queue.onBatch(listener(0));
    await queue.submit(1);
    await queue.submit(2);
    await queue.drain();
    await setImmediate();
    expect(calls).toEqual([0, 0, 1]);
  });
});
