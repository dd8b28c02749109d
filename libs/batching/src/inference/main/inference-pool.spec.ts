import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { ServiceStoppedError } from '../../core/errors.js';
import { InferenceWorkerError, ModelFileError, ModelNotReadyError } from '../errors.js';
import type { SharedBatch } from '../protocol/batch-layout.js';
import type { BackendReport } from '../protocol/messages.js';
import { signatureOf } from '../protocol/model-description.js';
import { BatchSizes } from './batch-sizes.js';
import { InferencePool, type InferencePoolOptions, type PoolWorker } from './inference-pool.js';
import type { InferenceRuntime } from './inference-runtime.js';
import type { SharedByWorkers } from './inference-worker.js';
import { recordingLogger } from './worker.fixture.js';
import { usableCpus, workersFor } from './usable-cpus.js';
import type { PooledModel } from './pooled-model.js';
import type { PreparedModel } from './registered-model.js';

const tensors = {
  inputs: [{ name: 'x', shape: [1], dtype: 'float32' }],
  outputs: [{ name: 'y', shape: [1], dtype: 'float32' }],
} as const;
const description = { ...tensors, signature: signatureOf('fake', tensors) };

/** A worker whose batches end when the test says so. */
class FakeWorker implements PoolWorker {
  readonly report: BackendReport;
  ready = true;
  starting = false;
  unresponsive: InferenceWorkerError | undefined;
  name = 'the inference worker';
  restarts = 0;
  backend: string;
  disk = 'a';
  prepared: PreparedModel | undefined;
  readonly running: { batch: SharedBatch; end: (error?: Error) => void }[] = [];
  readonly reloads: string[] = [];
  reloadError: Error | undefined;
  closed: number | undefined;
  #loads = 0;

  constructor(
    backend: string,
    readonly shared: SharedByWorkers,
    readonly sizes: BatchSizes,
  ) {
    this.backend = backend;
    this.report = {
      backend: backend === 'auto' ? 'wasm' : backend,
      device: 'CPU',
      gpu: false,
      passedOver: [],
    };
  }

  join(name: string, backend: string): void {
    this.name = name;
    this.backend = backend;
  }

  load(): Promise<PreparedModel> {
    this.prepared = {
      description,
      sizes: this.sizes,
      checksums: { weights: this.disk },
      version: this.disk,
      since: (this.#loads = performance.now()),
      refusal: undefined,
    };
    return Promise.resolve(this.prepared);
  }

  /** As after a restart: loads what is on the disk. */
  loadAgain(): void {
    Object.assign(this.prepared ?? {}, {
      version: this.disk,
      since: (this.#loads = Math.max(performance.now(), this.#loads + 1)),
      refusal: undefined,
    });
    this.shared.onLoadedAgain('m');
  }

  reload(name: string): Promise<void> {
    this.reloads.push(name);
    this.refuse('its files have changed');
    return this.reloadError ? Promise.reject(this.reloadError) : Promise.resolve();
  }

  refuse(problem: string): void {
    Object.assign(this.prepared ?? {}, { refusal: new ModelNotReadyError('m', problem) });
  }

  predict(_: string, batch: SharedBatch) {
    if (this.closed !== undefined) return Promise.reject(new ServiceStoppedError("model 'm'"));
    return new Promise<{
      wait: number;
      upload: number;
      run: number;
      read: number;
      answer: number;
      lost: number[];
    }>((resolve, reject) => {
      const end = (error?: Error) => {
        this.running.splice(
          this.running.findIndex((running) => running.batch === batch),
          1,
        );
        if (error) reject(error);
        else resolve({ wait: 0, upload: 0, run: batch.size, read: 0, answer: 0, lost: [] });
      };
      this.running.push({ batch, end });
    });
  }

  drop(): Promise<void> {
    return Promise.resolve();
  }

  usedMemory() {
    return Promise.resolve({ tensors: 3, bytes: 100 });
  }

  close(timeout = 0): Promise<void> {
    this.closed = timeout;
    this.ready = false;
    return Promise.resolve();
  }
}

describe('InferencePool', () => {
  const { logger, logged } = recordingLogger();
  let workers: FakeWorker[];
  let failing: number[];
  let sizes: BatchSizes;
  beforeEach(() => {
    workers = [];
    failing = [];
    sizes = new BatchSizes(undefined, false);
    Logger.overrideLogger(logger);
  });
  afterEach(() => {
    jest.restoreAllMocks();
    logged.length = 0;
  });

  const runtime = (usesOneCore = true) =>
    ({ module: 'FakeModule', usesOneCore: () => usesOneCore }) as unknown as InferenceRuntime;
  const open = (options: Partial<InferencePoolOptions> = {}, one = runtime()) =>
    InferencePool.open(one, { backend: 'auto', ...options }, (_, shared, backend) => {
      if (failing.includes(workers.length)) return Promise.reject(new Error('no room'));
      const worker = new FakeWorker(backend, shared, sizes);
      workers.push(worker);
      return Promise.resolve(worker);
    });
  const worker = (index: number) => {
    const found = workers[index];
    if (!found) throw new Error(`there is no worker ${index}`);
    return found;
  };
  /** Runs a batch of `count` inputs, as `InferenceModel` does. @returns when all its pieces have ended */
  function predict(pool: InferencePool, model: PooledModel, count: number): Promise<unknown> {
    const { pieces, done } = pool.plan(model, count);
    return Promise.all(
      pieces.map(async (piece) => {
        const batch = pool.memory.take(description, piece.size, [false]);
        try {
          await pool.predict(model, piece, batch);
        } finally {
          pool.memory.giveBack(batch);
        }
      }),
    ).then(() => done?.());
  }
  const sizesIn = (index: number) => worker(index).running.map(({ batch }) => batch.size);
  const endAll = (error?: Error) => {
    for (const { running } of workers) for (const { end } of [...running]) end(error);
  };

  describe('starts', () => {
    const env = process.env.NODE_ENV;
    afterEach(() => {
      process.env.NODE_ENV = env;
    });

    it("'auto': as many workers as pay, on the first one's backend, and logs them", async () => {
      process.env.NODE_ENV = 'production';
      await open();
      const count = workersFor(usableCpus());
      expect(workers).toHaveLength(count);
      expect(new Set(workers.map(({ backend }) => backend))).toEqual(new Set([count > 1 ? 'wasm' : 'auto']));
      if (count > 1) {
        expect(worker(1).name).toBe(`inference worker 2 of ${count}`);
        expect(logged).toContainEqual(
          expect.stringMatching(
            /^\d inference workers \(CPUs: \d+\); each takes about [-\d.]+ MB, and its models$/,
          ),
        );
      }
    });

    it("'auto': one in a test, and for a runtime that uses all of its device", async () => {
      await open();
      process.env.NODE_ENV = 'production';
      await open({}, runtime(false));
      await open({}, { module: 'FakeModule' } as InferenceRuntime);
      expect(workers.map(({ name, backend }) => [name, backend])).toEqual(
        Array.from({ length: 3 }, () => ['the inference worker', 'auto']),
      );
    });

    it('as many as configured, also in a test', async () => {
      const pool = await open({ workers: 3 });
      const model = await pool.load('m', { path: 'm' });
      expect(workers.map(({ name }) => name)).toEqual([1, 2, 3].map((i) => `inference worker ${i} of 3`));
      expect(logged).toContain("model 'm' is loaded in 3 workers, whose models take 0.0 MB each");
      expect(await pool.usedMemory()).toEqual({ tensors: 9, bytes: 300, sharedBytes: 0 });
      expect(await pool.load('m', { path: 'm' })).toBe(model);
    });

    it.each([0, -1, 1.5, 257, NaN, '2', null])('no number of workers like %p', async (count) => {
      await expect(open({ workers: count as number })).rejects.toThrow(
        new RangeError(
          `FakeModule: workers must be 'auto' or a whole number from 1 to 256; it is ${String(count)}`,
        ),
      );
    });

    it('none for good if one does not start', async () => {
      failing = [1];
      await expect(open({ workers: 3 })).rejects.toThrow('no room');
      expect(workers.every(({ closed }) => closed !== undefined)).toBe(true);
    });

    it('with the same files in all workers only', async () => {
      const pool = await open({ workers: 2 });
      worker(1).disk = 'b';
      const loading = pool.load('m', { path: 'm' });
      await expect(loading).rejects.toBeInstanceOf(ModelFileError);
      await expect(loading).rejects.toThrow("model 'm' was changed on disk (weights) while its workers");
    });
  });

  async function openModel(count: number): Promise<{ pool: InferencePool; model: PooledModel }> {
    const pool = await open({ workers: count });
    return { pool, model: await pool.load('m', { path: 'm' }) };
  }

  it('runs batches at the same time in different workers', async () => {
    const { pool, model } = await openModel(2);
    const all = [1, 1, 1, 1].map((count) => predict(pool, model, count));
    expect([sizesIn(0), sizesIn(1)]).toEqual([
      [1, 1],
      [1, 1],
    ]);
    endAll();
    await Promise.all(all);
  });

  it('gives a batch to the worker with the least work, not the fewest batches', async () => {
    sizes = new BatchSizes([1, 8], false);
    const { pool, model } = await openModel(2);
    const first = predict(pool, model, 1);
    endAll();
    await first;
    const all = [predict(pool, model, 8)];
    endAll();
    await Promise.all(all);
    all.push(
      predict(pool, model, 8),
      predict(pool, model, 1),
      predict(pool, model, 1),
      predict(pool, model, 1),
    );
    expect([sizesIn(0), sizesIn(1)]).toEqual([[8], [1, 1, 1]]);
    endAll();
    await Promise.all(all);
  });

  it('splits a batch over idle workers, in order, and tries it whole, too', async () => {
    const { pool, model } = await openModel(2);
    const plans = new Set<string>();
    for (let i = 0; i < 6; i++) {
      const { pieces, done } = pool.plan(model, 5);
      expect(pieces.reduce((sum, { count }) => sum + count, 0)).toBe(5);
      expect(pieces.map(({ start }) => start)).toEqual(pieces.length === 2 ? [0, 3] : [0]);
      expect(new Set(pieces.map(({ slot }) => slot)).size).toBe(pieces.length);
      plans.add(pieces.map(({ count }) => count).join());
      done?.();
    }
    expect(plans).toEqual(new Set(['5', '3,2']));
  });

  it('does not split where padding makes the parts as large as the whole, nor while a worker is busy', async () => {
    sizes = new BatchSizes([1, 64], false);
    const { pool, model } = await openModel(2);
    for (let i = 0; i < 8; i++) {
      const { pieces, done } = pool.plan(model, 64);
      expect(pieces).toHaveLength(1);
      done?.();
    }
    const running = predict(pool, model, 64);
    expect(pool.plan(model, 2).done).toBeUndefined();
    endAll();
    await running;
  });

  it('runs the pieces of a batch above the largest size in all workers', async () => {
    sizes = new BatchSizes([4], false);
    const { pool, model } = await openModel(2);
    const running = predict(pool, model, 10);
    expect([sizesIn(0), sizesIn(1)]).toEqual([[4, 4], [4]]);
    endAll();
    await running;
  });

  it('leaves out workers that are down, and fails their parts only', async () => {
    const { pool, model } = await openModel(2);
    const [lost, kept] = [predict(pool, model, 1), predict(pool, model, 1)];
    const death = new InferenceWorkerError('died');
    worker(0).ready = false;
    worker(0).running[0]?.end(death);
    await expect(lost).rejects.toBe(death);
    expect(pool.isReady(model)).toBe(true);
    const more = [predict(pool, model, 4), predict(pool, model, 4)];
    expect([sizesIn(0), sizesIn(1)]).toEqual([[], [1, 4, 4]]);
    endAll();
    await Promise.all([kept, ...more]);
    worker(0).ready = true;
    const back = predict(pool, model, 1);
    expect([sizesIn(0), sizesIn(1)]).toEqual([[1], []]);
    endAll();
    await back;
  });

  it('rejects a split batch with the death of one of its workers', async () => {
    const { pool, model } = await openModel(2);
    let split: Promise<unknown> | undefined;
    while (sizesIn(1).length === 0) {
      endAll();
      await split;
      split = predict(pool, model, 8);
    }
    expect([sizesIn(0), sizesIn(1)]).toEqual([[4], [4]]);
    const death = new InferenceWorkerError('died');
    worker(1).running[0]?.end(death);
    await expect(split).rejects.toBe(death);
    endAll();
  });

  it('waits for a worker that is being started if none is up', async () => {
    const { pool, model } = await openModel(2);
    for (const each of workers) each.ready = false;
    worker(1).starting = true;
    expect(pool.isReady(model)).toBe(false);
    const waiting = predict(pool, model, 8);
    expect([sizesIn(0), sizesIn(1)]).toEqual([[], [8]]);
    endAll();
    await waiting;
  });

  it('is unresponsive when all workers are', async () => {
    const { pool } = await openModel(2);
    const stuck = new InferenceWorkerError('stuck');
    worker(0).unresponsive = stuck;
    expect(pool.unresponsive).toBeUndefined();
    worker(1).unresponsive = stuck;
    expect(pool.unresponsive).toBe(stuck);
  });

  describe('when a worker is started again with other files', () => {
    it('gives batches to it alone, until the others have loaded them', async () => {
      const { pool, model } = await openModel(3);
      worker(1).disk = 'b';
      worker(1).loadAgain();
      expect(workers.map(({ reloads }) => reloads)).toEqual([['m'], [], ['m']]);
      const all = [predict(pool, model, 6), predict(pool, model, 6)];
      expect([sizesIn(0), sizesIn(1), sizesIn(2)]).toEqual([[], [6, 6], []]);
      worker(2).disk = 'b';
      worker(2).loadAgain();
      expect(workers.map(({ reloads }) => reloads)).toEqual([['m'], [], ['m']]);
      all.push(predict(pool, model, 6));
      expect(sizesIn(2)).toEqual([6]);
      endAll();
      await Promise.all(all);
    });

    it('follows the load that began last, whichever ends last', async () => {
      const { pool, model } = await openModel(2);
      worker(0).disk = 'b';
      worker(0).loadAgain();
      worker(1).disk = 'c';
      worker(1).loadAgain();
      // The first one, which has the older files, loads again.
      expect(workers.map(({ reloads }) => reloads)).toEqual([['m'], ['m']]);
      expect([0, 1].map((i) => model.isCurrentIn(i))).toEqual([false, true]);
      worker(0).disk = 'c';
      worker(0).loadAgain();
      expect([0, 1].map((i) => model.isCurrentIn(i))).toEqual([true, true]);
      expect(pool.isReady(model)).toBe(true);
    });

    it('goes on with the former weights while that worker refuses its files', async () => {
      const { pool, model } = await openModel(2);
      worker(0).refuse('weights.bin is missing');
      expect(model.refusal).toBeUndefined();
      expect(pool.isReady(model)).toBe(true);
      const running = predict(pool, model, 6);
      expect([sizesIn(0), sizesIn(1)]).toEqual([[], [6]]);
      endAll();
      await running;
      worker(1).refuse('weights.bin is missing');
      expect(model.refusal).toBeInstanceOf(ModelNotReadyError);
      expect(pool.isReady(model)).toBe(false);
    });

    it('logs why another one cannot load them, unless it dies', async () => {
      const { model } = await openModel(3);
      worker(0).reloadError = new InferenceWorkerError('died');
      worker(2).reloadError = new Error('no room');
      worker(1).disk = 'b';
      worker(1).loadAgain();
      await Promise.resolve();
      expect(logged.slice(-1)).toEqual(['no room']);
      expect([0, 1, 2].map((i) => model.isCurrentIn(i))).toEqual([false, true, false]);
    });

    it('does nothing if they are the same', async () => {
      const { model } = await openModel(2);
      worker(1).loadAgain();
      expect(workers.map(({ reloads }) => reloads)).toEqual([[], []]);
      expect(model.isCurrentIn(1)).toBe(true);
    });
  });

  it('closes all workers, with the same time limit', async () => {
    const { pool, model } = await openModel(2);
    await pool.close(123);
    expect(workers.map(({ closed }) => closed)).toEqual([123, 123]);
    await expect(predict(pool, model, 1)).rejects.toBeInstanceOf(ServiceStoppedError);
  });
});
