import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Injectable, Logger, Module } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { Counter, register, Registry } from 'prom-client';
import { MODEL_REPORT, type ModelReport } from '../core/application.js';
import { type Batched, BatchedService, BatchingModule, BatchingRegistry, InjectBatched } from '../index.js';
import { METRIC_NAMES } from '../reports/metrics.js';
import { BatchingMetricsModule, type BatchingMetricsOptions } from './index.js';

@Injectable()
class Squares {
  @BatchedService(4, 0, { maxQueued: 8, dispatch: 'eager' })
  async of(xs: readonly number[]): Promise<(number | Error)[]> {
    await new Promise((resolve) => setTimeout(resolve, 2));
    return xs.map((x) => (x < 0 ? new Error('negative') : x * x));
  }
}

const apps: TestingModule[] = [];
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
  register.clear();
  jest.restoreAllMocks();
});

async function start(options?: BatchingMetricsOptions, ...providers: object[]): Promise<TestingModule> {
  const app = await Test.createTestingModule({
    imports: [BatchingModule.forRoot(), BatchingMetricsModule.forRoot(options ?? {})],
    providers: [Squares, ...(providers as [])],
  }).compile();
  await app.init();
  apps.push(app);
  return app;
}

const queueOf = (app: TestingModule) => app.get(BatchingRegistry).get('Squares.of');

/** The values of a registry's text, by name and labels as they stand there. */
async function valuesOf(registry: Registry = register): Promise<Record<string, number>> {
  const lines = (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

describe('BatchingMetricsModule', () => {
  it('exports what the queues count, in the registry of prom-client', async () => {
    const app = await start();
    const queue = queueOf(app);
    const inputs = [1, 2, 3, -4, 5, 6];
    await Promise.allSettled([
      ...queue.submitMany(inputs),
      queue.submit(7, { signal: AbortSignal.abort() }),
      ...queue.submitMany(Array.from({ length: 9 })),
    ]);
    const values = await valuesOf();
    expect(values).toMatchObject({
      'batching_submitted_total{queue="Squares.of"}': 16,
      'batching_coalesced_total{queue="Squares.of"}': 0,
      'batching_items_total{queue="Squares.of",outcome="result"}': 5,
      'batching_items_total{queue="Squares.of",outcome="error"}': 1,
      'batching_dropped_total{queue="Squares.of",reason="aborted"}': 1,
      'batching_dropped_total{queue="Squares.of",reason="full"}': 9,
      'batching_dropped_total{queue="Squares.of",reason="timeout"}': 0,
      'batching_batches_total{queue="Squares.of",reason="size"}': 1,
      'batching_batches_total{queue="Squares.of",reason="idle"}': 1,
      'batching_batch_size_bucket{le="1",queue="Squares.of"}': 0,
      'batching_batch_size_bucket{le="2",queue="Squares.of"}': 1,
      'batching_batch_size_bucket{le="4",queue="Squares.of"}': 2,
      'batching_batch_size_bucket{le="+Inf",queue="Squares.of"}': 2,
      'batching_batch_size_sum{queue="Squares.of"}': 6,
      'batching_batch_size_count{queue="Squares.of"}': 2,
      'batching_wait_seconds_count{queue="Squares.of"}': 6,
      'batching_run_seconds_count{queue="Squares.of"}': 2,
      'batching_run_seconds_bucket{le="0.001",queue="Squares.of"}': 0,
      'batching_waiting_items{queue="Squares.of"}': 0,
      'batching_blocked_items{queue="Squares.of"}': 0,
      'batching_running_batches{queue="Squares.of"}': 0,
    });
    expect(values['batching_utilization{queue="Squares.of"}']).toBeGreaterThan(0);
    expect(values['batching_utilization{queue="Squares.of"}']).toBeLessThanOrEqual(1);
    expect(Object.keys(values).filter((name) => /replicas|slo/.test(name))).toEqual([]);
  });

  it('has every metric by its name, with prefix, in its own registry alone', async () => {
    const registry = new Registry();
    await start({ registry, prefix: 'shop_' });
    expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual(
      METRIC_NAMES.map((name) => `shop_${name}`),
    );
    expect(register.getMetricsAsArray()).toEqual([]);
  });

  it('goes on counting where an application was closed, and adds up those that share a registry', async () => {
    const registry = new Registry();
    const submitted = 'batching_submitted_total{queue="Squares.of"}';
    const first = await start({ registry });
    await Promise.all(queueOf(first).submitMany([1, 2, 3]));
    const second = await start({ registry });
    await Promise.all(queueOf(second).submitMany([1, 2]));
    expect((await valuesOf(registry))[submitted]).toBe(5);
    await first.close();
    await second.close();
    for (let reading = 0; reading < 3; reading++) {
      const values = await valuesOf(registry);
      expect(values[submitted]).toBe(5);
      expect(values['batching_run_seconds_count{queue="Squares.of"}']).toBe(2);
      expect(values).not.toHaveProperty(['batching_waiting_items{queue="Squares.of"}']);
    }
    await Promise.all(queueOf(await start({ registry })).submitMany([1]));
    expect((await valuesOf(registry))[submitted]).toBe(6);
  });

  it('does not add up shares, aims and states', async () => {
    const model: ModelReport = {
      ...{
        name: 'digits',
        runtime: 'TfjsModule',
        problem: undefined,
        batches: 0,
        inputs: 0,
        steps: {},
        restarts: 0,
      },
      memory: () => Promise.resolve({ tensors: 8, bytes: 64 }),
    };
    const provide = (problem?: string) => ({
      provide: 'digits',
      useValue: { [MODEL_REPORT]: { ...model, problem } },
    });
    const registry = new Registry();
    const options = { registry, slo: { p99: 50 }, window: 40 };
    for (const app of [await start(options, provide()), await start(options, provide('it hangs'))]) {
      const queue = queueOf(app);
      // Busy without a break for longer than the window.
      const begin = performance.now();
      while (performance.now() - begin < 100) await Promise.all(queue.submitMany([1, 2, 3, 4, 5]));
    }
    const values = await valuesOf(registry);
    expect(values['batching_slo_seconds{queue="Squares.of"}']).toBe(0.05);
    expect(values['batching_utilization{queue="Squares.of"}']).toBeLessThanOrEqual(1);
    expect(values['batching_model_ready{model="digits"}']).toBe(0);
    expect(values['batching_model_tensors{runtime="TfjsModule"}']).toBe(16);
    // Those of the processes of a cluster are joined in the same way.
    const aggregators = (await registry.getMetricsAsJSON()).map(({ name, aggregator }) => [name, aggregator]);
    expect(Object.fromEntries(aggregators)).toMatchObject({
      batching_slo_seconds: 'max',
      batching_utilization: 'average',
      batching_model_ready: 'min',
      batching_replicas_needed: 'sum',
      batching_run_seconds: 'sum',
      batching_submitted_total: 'sum',
    });
  });

  it('counts what ends while an application closes', async () => {
    const registry = new Registry();
    const app = await start({ registry });
    const results = Promise.all(queueOf(app).submitMany([1, 2, 3, 4, 5, 6]));
    const read = setInterval(() => void registry.metrics(), 0);
    await app.close();
    clearInterval(read);
    await results;
    expect((await valuesOf(registry))['batching_items_total{queue="Squares.of",outcome="result"}']).toBe(6);
  });

  it('registers again in a registry that was cleared', async () => {
    const registry = new Registry();
    await start({ registry });
    registry.clear();
    await start({ registry });
    expect((await valuesOf(registry))['batching_submitted_total{queue="Squares.of"}']).toBe(0);
  });

  it('is text that OpenMetrics takes, too', async () => {
    const registry = new Registry();
    registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
    await start({ registry });
    for (let reading = 0; reading < 2; reading++) {
      const text = await registry.metrics();
      expect(text).toContain('# TYPE batching_batches counter');
      expect(text).toContain('batching_batches_total{queue="Squares.of",reason="size"} 0');
      expect(text).toMatch(/# EOF\n$/);
    }
  });

  it('says how many replicas the load needs where there is an aim, refused inputs included', async () => {
    const registry = new Registry();
    const app = await start({ registry, slo: { p99: 50 } });
    const replicas = 'batching_replicas_needed{queue="Squares.of"}';
    expect(await valuesOf(registry)).not.toHaveProperty([replicas]);
    const queue = queueOf(app);
    const begin = performance.now();
    while (performance.now() - begin < 200) {
      await Promise.allSettled(queue.submitMany([1, 2, 3, 4]));
    }
    const before = await valuesOf(registry);
    // Batches of four that run one after the other: all that one replica can do.
    expect(before[replicas]).toBeGreaterThan(0.5);
    expect(before[replicas]).toBeLessThan(1.6);
    expect(before['batching_slo_seconds{queue="Squares.of"}']).toBe(0.05);
    for (let i = 0; i < 1000; i++) await Promise.allSettled(queue.submitMany(Array.from({ length: 9 })));
    expect((await valuesOf(registry))[replicas]).toBeGreaterThan(5);
  });

  it('has an aim for a queue by its name, and warns of a name that does not exist', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue();
    const registry = new Registry();
    await start({ registry, slo: { queues: { 'Squares.of': 20, 'Squares.off': 1 } } });
    expect((await valuesOf(registry))['batching_slo_seconds{queue="Squares.of"}']).toBe(0.02);
    expect(warn.mock.calls).toEqual([
      ["slo.queues: no queue is called 'Squares.off'; there are: Squares.of"],
    ]);
  });

  it('warns once of an aim that no number of replicas holds', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue();
    const registry = new Registry();
    const app = await start({ registry, slo: { p99: 1 } });
    for (let batch = 0; batch < 10; batch++) await Promise.all(queueOf(app).submitMany([1, 2, 3]));
    await registry.metrics();
    const values = await valuesOf(registry);
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/^Squares\.of: a p99 of 1 ms is hardly held by any number of replicas/)],
    ]);
    expect(values['batching_replicas_needed{queue="Squares.of"}']).toBeGreaterThan(0);
  });

  it('exports models, and does not wait for a worker that is busy', async () => {
    const report: ModelReport = {
      name: 'digits',
      runtime: 'TfjsModule',
      problem: undefined,
      batches: 3,
      inputs: 12,
      steps: { fill: 1, run: 250 },
      restarts: 1,
      memory: () => Promise.resolve({ tensors: 8, bytes: 1234 }),
    };
    const digits = { [MODEL_REPORT]: report };
    const faces = {
      [MODEL_REPORT]: {
        ...report,
        name: 'faces',
        runtime: 'OnnxModule',
        problem: 'it is being loaded',
        memory: () => new Promise(() => undefined),
      },
    };
    await start(
      {},
      { provide: 'digits', useValue: digits },
      { provide: 'alias', useExisting: 'digits' },
      { provide: 'faces', useValue: faces },
    );
    const values = await valuesOf();
    expect(values).toMatchObject({
      'batching_model_seconds_sum{model="digits",step="run"}': 0.25,
      'batching_model_seconds_count{model="digits",step="run"}': 3,
      'batching_model_inputs_total{model="digits"}': 12,
      'batching_model_ready{model="digits"}': 1,
      'batching_model_ready{model="faces"}': 0,
      'batching_model_restarts_total{runtime="TfjsModule"}': 1,
      'batching_model_tensors{runtime="TfjsModule"}': 8,
      'batching_model_bytes{runtime="TfjsModule"}': 1234,
    });
    expect(values).not.toHaveProperty(['batching_model_tensors{runtime="OnnxModule"}']);
  });

  it('exports the own application: another one of the process has classes that this one does not', async () => {
    @Injectable()
    class Cubes {
      @BatchedService(1, 0)
      of(xs: readonly number[]): Promise<number[]> {
        return Promise.resolve(xs.map((x) => x ** 3));
      }
    }
    @Injectable()
    class Caller {
      @InjectBatched(Cubes) readonly cubes!: Batched<Cubes>;
    }
    const [registry, others] = [new Registry(), new Registry()];
    await start({ registry: others }, Cubes, Caller);
    await start({ registry });
    const submitted = (of: string) => [`batching_submitted_total{queue="${of}"}`];
    expect(await valuesOf(registry)).toHaveProperty(submitted('Squares.of'));
    expect(await valuesOf(registry)).not.toHaveProperty(submitted('Cubes.of'));
    expect(await valuesOf(others)).toHaveProperty(submitted('Cubes.of'));
  });

  it('takes options from a factory', async () => {
    const registry = new Registry();
    const app = await Test.createTestingModule({
      imports: [
        BatchingModule.forRoot(),
        BatchingMetricsModule.forRootAsync({ useFactory: () => ({ registry, prefix: 'a_' }) }),
      ],
      providers: [Squares],
    }).compile();
    apps.push(await app.init());
    expect(await valuesOf(registry)).toHaveProperty(['a_batching_submitted_total{queue="Squares.of"}']);
  });

  it('refuses to be imported twice for one application, registry and prefix', async () => {
    @Module({ imports: [BatchingMetricsModule.forRoot({})] })
    class Feature {}
    const app = await Test.createTestingModule({
      imports: [BatchingModule.forRoot(), BatchingMetricsModule.forRoot({}), Feature],
      providers: [Squares],
    }).compile();
    await expect(app.init()).rejects.toThrow(
      'BatchingMetricsModule is imported twice with the same registry and prefix',
    );
  });

  it('refuses to start without BatchingModule, and where the registry has metrics of these names', async () => {
    const alone = await Test.createTestingModule({ imports: [BatchingMetricsModule.forRoot({})] }).compile();
    await expect(alone.init()).rejects.toThrow('needs BatchingModule.forRoot()');
    const registry = new Registry();
    new Counter({ name: 'batching_items_total', help: 'another', registers: [registry] });
    await expect(start({ registry })).rejects.toThrow('batching_items_total has already been registered');
    const other = new Registry();
    new Counter({ name: 'batching_submitted_total', help: 'another', registers: [other] });
    await expect(start({ registry: other })).rejects.toThrow('batching_submitted_total has already been');
  });

  it.each([
    [{ registry: {} }, TypeError, 'registry: expected a Registry of prom-client, got an Object'],
    [{ prefix: 7 }, TypeError, 'prefix: expected a string, got 7'],
    [
      { prefix: '7up' },
      RangeError,
      "prefix: expected letters, digits, _ and :, not beginning with a digit; got '7up'",
    ],
    [{ window: 0 }, RangeError, 'window: expected milliseconds > 0, got 0'],
    [{ slo: 200 }, TypeError, 'slo: expected an object such as { p99: 200 }, got 200'],
    [{ slo: { p95: 200 } }, TypeError, "slo: expected p99 or queues, got 'p95'"],
    [{ slo: { p99: '200' } }, TypeError, "slo.p99: expected a number of milliseconds, got '200'"],
    [{ slo: { p99: -1 } }, RangeError, 'slo.p99: expected milliseconds ≥ 0, got -1'],
    [{ slo: { queues: { 'A.b': 0 } } }, RangeError, "slo.queues['A.b']: expected milliseconds > 0, got 0"],
  ])('refuses %j', async (options, type, message) => {
    const starting = start(options as unknown as BatchingMetricsOptions);
    await expect(starting).rejects.toThrow(type);
    await expect(starting).rejects.toThrow(`BatchingMetricsModule.forRoot(): ${message}`);
  });
});
