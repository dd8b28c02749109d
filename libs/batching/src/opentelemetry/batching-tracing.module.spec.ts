import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Injectable, Module, type Provider } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { context, propagation, ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  type BatchingModuleOptions,
  type BatchingNodeOptions,
  BatchingRegistry,
  InjectBatched,
  SerialService,
} from '../index.js';
import type { BatchEvent } from '../core/events.js';
import { METRIC_NAMES, METRICS } from '../reports/metrics.js';
import { MemoryBroker, memoryTransport } from '../transport/memory-transport.js';
import { BatchTraces } from './batch-traces.js';
import { BatchingTracingModule, type BatchingTracingOptions, tracePropagation } from './index.js';

const exporter = new InMemorySpanExporter();
const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const tracer = tracerProvider.getTracer('test');

@Injectable()
class Squares {
  @BatchedService(2, 5, { keyBy: (x: number) => x, coalesce: true, maxQueued: 4, dispatch: 'fixed' })
  async of(xs: readonly number[]): Promise<(number | Error)[]> {
    tracer.startSpan('SELECT').end();
    await sleep(2);
    tracer.startSpan('after').end();
    if (xs.includes(99)) throw new Error('all of them');
    return xs.map((x) => (x < 0 ? new Error('negative') : x * x));
  }

  @SerialService()
  one(x: number): number {
    tracer.startSpan('serial').end();
    return x;
  }
}

@Injectable()
class Others {
  @BatchedService(1, 0)
  async hang(xs: readonly number[]): Promise<readonly number[]> {
    await new Promise(() => undefined);
    return xs;
  }
}

@Injectable()
class Caller {
  constructor(@InjectBatched(Squares) readonly squares: Batched<Squares>) {}
}

const apps: TestingModule[] = [];
beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});
afterAll(() => {
  context.disable();
});
beforeEach(() => {
  exporter.reset();
});
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
});

async function start(options: BatchingTracingOptions = {}): Promise<TestingModule> {
  const app = await Test.createTestingModule({
    imports: [
      BatchingModule.forRoot(),
      BatchingTracingModule.forRoot({ tracerProvider, meterProvider: false, ...options }),
    ],
    providers: [Squares, Others],
  }).compile();
  apps.push(app);
  return app.init();
}

const queueOf = (app: TestingModule, name = 'Squares.of') => app.get(BatchingRegistry).get(name);

/** Calls within a span of its own, which it ends. */
async function traced<T>(name: string, call: () => Promise<T>): Promise<T> {
  const span = tracer.startSpan(name);
  try {
    return await context.with(trace.setSpan(ROOT_CONTEXT, span), call);
  } finally {
    span.end();
  }
}

const spans = (name: string): ReadableSpan[] =>
  exporter.getFinishedSpans().filter((span) => span.name === name);
function spanOf(name: string): ReadableSpan {
  const [span, ...others] = spans(name);
  if (!span || others.length > 0)
    throw new Error(`there are ${others.length + (span ? 1 : 0)} spans ${name}`);
  return span;
}
const idOf = (span: ReadableSpan) => span.spanContext().spanId;
const traceOf = (span: ReadableSpan) => span.spanContext().traceId;
const linked = (span: ReadableSpan) => span.links.map((link) => link.context.spanId);
const microseconds = ([seconds, nanos]: [number, number]) => seconds * 1e6 + nanos / 1e3;

describe('The traces of BatchingTracingModule', () => {
  it('have one span per batch, linked with its callers, and in the trace of each its own wait and run', async () => {
    const queue = queueOf(await start());
    await Promise.all(['a', 'b'].map((name, x) => traced(name, () => queue.submit(x + 1))));
    await queue.drain();
    const batch = spanOf('Squares.of batch');
    const callers = ['a', 'b'].map(spanOf);
    expect(batch.parentSpanContext).toBeUndefined();
    expect(linked(batch)).toEqual(callers.map(idOf));
    expect(batch.attributes).toMatchObject({
      'batching.queue': 'Squares.of',
      'batching.batch.size': 2,
      'batching.batch.reason': 'size',
      'batching.batch.results': 2,
      'batching.batch.errors': 0,
    });
    for (const caller of callers) {
      expect(traceOf(caller)).not.toBe(traceOf(batch));
      const [wait, run] = ['wait', 'run'].map((part) =>
        spans(`Squares.of ${part}`).find((span) => traceOf(span) === traceOf(caller)),
      );
      if (!wait || !run) throw new Error('a caller has not both spans');
      for (const span of [wait, run]) expect(span.parentSpanContext?.spanId).toBe(idOf(caller));
      expect(linked(run)).toEqual([idOf(batch)]);
      expect(microseconds(wait.endTime)).toBeLessThanOrEqual(microseconds(run.startTime) + 1000);
      expect(run.attributes['batching.outcome']).toBe('result');
    }
    expect(exporter.getFinishedSpans()).toHaveLength(2 + 1 + 2 * 2 + 2);
  });

  it('put what a batch function does into the trace of the batch, and nothing else', async () => {
    const queue = queueOf(await start());
    await traced('caller', async () => {
      await queue.submit(1);
      tracer.startSpan('later').end();
    });
    await queue.drain();
    tracer.startSpan('outside').end();
    const batch = spanOf('Squares.of batch');
    for (const name of ['SELECT', 'after']) expect(spanOf(name).parentSpanContext?.spanId).toBe(idOf(batch));
    expect(spanOf('later').parentSpanContext?.spanId).toBe(idOf(spanOf('caller')));
    expect(spanOf('outside').parentSpanContext).toBeUndefined();
  });

  it('do not leak from one batch into the next, nor from one caller into another', async () => {
    const queue = queueOf(await start());
    const callers = Array.from({ length: 4 }, (_, index) =>
      traced(`caller ${index}`, async () => {
        for (let x = 0; x < 3; x++) await queue.submit(10 * index + x);
      }),
    );
    await Promise.all(callers);
    await queue.drain();
    const batches = spans('Squares.of batch');
    for (const batch of batches) {
      expect(batch.parentSpanContext).toBeUndefined();
      const inside = ['SELECT', 'after'].flatMap(spans).filter((span) => traceOf(span) === traceOf(batch));
      expect(inside.map(({ name }) => name)).toEqual(['SELECT', 'after']);
      for (const span of inside) expect(span.parentSpanContext?.spanId).toBe(idOf(batch));
    }
    for (let index = 0; index < 4; index++) {
      const caller = spanOf(`caller ${index}`);
      const own = exporter.getFinishedSpans().filter((span) => traceOf(span) === traceOf(caller));
      expect(own.map(({ name }) => name).sort()).toEqual(
        [
          caller.name,
          ...Array.from({ length: 3 }, () => ['Squares.of run', 'Squares.of wait']).flat(),
        ].sort(),
      );
    }
  });

  it('show what failed: a batch as a whole, an input of its own, and one that was dropped', async () => {
    const queue = queueOf(await start());
    await Promise.allSettled([traced('whole', () => queue.submit(99))]);
    await Promise.allSettled([traced('own', () => queue.submit(-1))]);
    await queue.drain();
    const signal = AbortSignal.abort(new Error('gone'));
    await Promise.allSettled([traced('aborted', () => queue.submit(3, { signal }))]);
    const leaving = new AbortController();
    const left = traced('left', () => queue.submit(5, { signal: leaving.signal }));
    while (queue.stats().runningBatches === 0) await sleep(0);
    leaving.abort();
    await Promise.allSettled([left]);
    await queue.drain();
    await queue.stop();
    await Promise.allSettled([traced('stopped', () => queue.submit(4))]);
    const of = (caller: string) => {
      const id = idOf(spanOf(caller));
      const children = exporter.getFinishedSpans().filter((span) => span.parentSpanContext?.spanId === id);
      return children.map(({ name, status, attributes }) => [
        name,
        status.code,
        attributes['batching.outcome'],
      ]);
    };
    const { ERROR, UNSET } = SpanStatusCode;
    expect(of('whole')).toEqual([
      ['Squares.of wait', UNSET, undefined],
      ['Squares.of run', ERROR, 'error'],
    ]);
    expect(of('own')).toEqual([
      ['Squares.of wait', UNSET, undefined],
      ['Squares.of run', ERROR, 'error'],
    ]);
    expect(of('aborted')).toEqual([['Squares.of wait', UNSET, 'dropped']]);
    expect(of('left')).toEqual([
      ['Squares.of wait', UNSET, undefined],
      ['Squares.of run', UNSET, 'error'],
    ]);
    expect(of('stopped')).toEqual([['Squares.of wait', ERROR, 'dropped']]);
    expect(spans('Squares.of batch').map(({ status }) => status)).toEqual([
      { code: ERROR, message: 'all of them' },
      { code: UNSET },
    ]);
    expect(spans('Squares.of batch')[0]?.events.map(({ name }) => name)).toEqual(['exception']);
  });

  it('have a span for a caller that joins an input which runs', async () => {
    const queue = queueOf(await start());
    const first = queue.submitMany([5, 6]);
    while (queue.stats().runningBatches === 0) await sleep(0);
    await traced('joined', () => queue.submit(5));
    await Promise.all(first);
    const [span, ...others] = exporter
      .getFinishedSpans()
      .filter(({ parentSpanContext }) => parentSpanContext?.spanId === idOf(spanOf('joined')));
    expect(others).toEqual([]);
    expect(span?.attributes).toMatchObject({ 'batching.coalesced': true, 'batching.outcome': 'result' });
  });

  it('give callers without a span none, and their batch one', async () => {
    const queue = queueOf(await start());
    await queue.submit(1);
    await queue.drain();
    expect(exporter.getFinishedSpans().map(({ name }) => name)).toEqual([
      'SELECT',
      'after',
      'Squares.of batch',
    ]);
    expect(spanOf('Squares.of batch').links).toEqual([]);
  });

  it('leave a serial call in the trace of its caller', async () => {
    const queue = queueOf(await start(), 'Squares.one');
    await traced('caller', () => queue.submit(1));
    await queue.drain();
    expect(spanOf('serial').parentSpanContext?.spanId).toBe(idOf(spanOf('caller')));
  });

  it('have a span for a batch of any size', () => {
    const waits = Array.from({ length: 150_000 }, (_, index) => index);
    const wrapRun = () => undefined;
    const batch = { queue: { name: 'all' }, reason: 'size', size: waits.length, waits, inputs: [], wrapRun };
    const traces = new BatchTraces(tracer);
    traces['batch:start'](batch as unknown as BatchEvent);
    traces.close();
    expect(spanOf('all batch').attributes['batching.batch.waited']).toBe(149_999);
  });

  it('end, as failed, with an application that does not wait for a batch that hangs', async () => {
    const app = await start();
    const queue = queueOf(app, 'Others.hang');
    const failed = expect(traced('caller', () => queue.submit(1))).rejects.toThrow('did not wait');
    while (queue.stats().runningBatches === 0) await sleep(0);
    await app.get(BatchingRegistry).stop({ timeout: 1 });
    await failed;
    await app.close();
    for (const part of ['run', 'batch']) {
      expect(spanOf(`Others.hang ${part}`).status.code).toBe(SpanStatusCode.ERROR);
    }
  });

  it('are those of the own application, and end with it', async () => {
    const [traced, plain] = [await start(), await start({ tracerProvider: false })];
    await queueOf(plain).submit(1);
    expect(spans('Squares.of batch')).toEqual([]);
    await queueOf(traced).submit(1);
    await traced.close();
    expect(spans('Squares.of batch')).toHaveLength(1);
  });

  describe('between nodes', () => {
    /** As the propagator of W3C trace context, which the SDK brings. */
    beforeEach(() => {
      propagation.setGlobalPropagator({
        inject: (from, carrier, setter) => {
          const span = trace.getSpanContext(from);
          if (span) setter.set(carrier, 'id', `${span.traceId} ${span.spanId}`);
        },
        extract: (to, carrier, getter) => {
          const [traceId = '', spanId = ''] = String(getter.get(carrier, 'id')).split(' ');
          return trace.setSpanContext(to, { traceId, spanId, traceFlags: 1, isRemote: true });
        },
        fields: () => ['id'],
      });
    });
    afterEach(() => {
      propagation.disable();
    });

    async function startNode(
      options: BatchingModuleOptions & BatchingNodeOptions,
      providers: Provider[],
    ): Promise<TestingModule> {
      const app = await Test.createTestingModule({
        imports: [
          BatchingModule.forRoot(options),
          BatchingTracingModule.forRoot({ tracerProvider, meterProvider: false }),
        ],
        providers,
      }).compile();
      apps.push(app);
      return app.init();
    }

    it('go on where the input runs: its wait and run are in the trace of its caller, the batch is linked', async () => {
      const broker = new MemoryBroker();
      const web = await startNode({ transport: memoryTransport({ broker }), remote: [Squares] }, [Caller]);
      await startNode({ transport: memoryTransport({ broker }), serve: [Squares] }, [Squares]);
      const { squares } = web.get(Caller);
      const results = ['a', 'b'].map((name, x) => traced(name, () => squares.of(x + 2)));
      expect(await Promise.all(results)).toEqual([4, 9]);
      // A caller without a span begins no trace on the node either.
      await squares.of(5);
      const parents = (name: string) =>
        spans(name).map((span) => [traceOf(span), span.parentSpanContext?.spanId]);
      const callers = ['a', 'b'].map(spanOf);
      const expected = callers.map((span) => [traceOf(span), idOf(span)]);
      expect(parents('Squares.of wait')).toEqual(expected);
      expect(parents('Squares.of run')).toEqual(expected);
      const [batch, alone] = spans('Squares.of batch');
      expect(batch && linked(batch)).toEqual(callers.map(idOf));
      expect(alone?.links).toEqual([]);
    });

    it('are carried as the option trace says, where it is given', async () => {
      const broker = new MemoryBroker();
      const own = { inject: () => undefined, extract: <T>(_: unknown, submit: () => T): T => submit() };
      const web = await startNode({ transport: memoryTransport({ broker }), remote: [Squares], trace: own }, [
        Caller,
      ]);
      await startNode({ transport: memoryTransport({ broker }), serve: [Squares] }, [Squares]);
      await traced('caller', () => web.get(Caller).squares.of(2));
      expect(spans('Squares.of wait')).toEqual([]);
    });

    it('can be carried without the module', () => {
      expect(tracePropagation.inject()).toBeUndefined();
      const span = tracer.startSpan('caller');
      const carrier = context.with(trace.setSpan(ROOT_CONTEXT, span), () => tracePropagation.inject());
      const seen = tracePropagation.extract(carrier ?? {}, () => trace.getSpanContext(context.active()));
      expect(seen).toMatchObject({ spanId: span.spanContext().spanId, isRemote: true });
    });
  });
});

describe('The metrics of BatchingTracingModule', () => {
  it('are those of nest-batching/prometheus, by the same names', async () => {
    const memory = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter: memory, exportIntervalMillis: 3_600_000 });
    const meterProvider = new MeterProvider({ readers: [reader] });
    const app = await start({ tracerProvider: false, meterProvider, slo: { p99: 100 } });
    const queue = queueOf(app);
    await Promise.allSettled([
      ...queue.submitMany([1, -2]),
      queue.submit(3, { signal: AbortSignal.abort() }),
    ]);
    await queue.drain();
    await app.close();
    await meterProvider.forceFlush();
    const all = memory
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics));
    const points = new Map<string, unknown>();
    for (const { descriptor, dataPoints } of all) {
      for (const { attributes, value } of dataPoints) {
        const { queue: name, ...labels } = attributes;
        if (name === 'Squares.of') points.set([descriptor.name, ...Object.values(labels)].join(' '), value);
      }
    }
    expect(Object.fromEntries(points)).toMatchObject({
      batching_submitted_total: 3,
      'batching_items_total result': 1,
      'batching_items_total error': 1,
      'batching_dropped_total aborted': 1,
      'batching_batches_total size': 1,
      batching_waiting_items: 0,
      batching_slo_seconds: 0.1,
      batching_batch_size: { count: 1, sum: 2 },
      batching_wait_seconds: { count: 2 },
      batching_run_seconds: { count: 1, buckets: { boundaries: [...METRICS.batching_run_seconds.buckets] } },
    });
    const names = new Set(all.map(({ descriptor }) => descriptor.name.replace(/_(sum|count)$/, '')));
    for (const name of names) expect(METRIC_NAMES).toContain(name);
    // All has been read: the application is held no longer.
    const stats = jest.spyOn(app.get(BatchingRegistry), 'stats');
    await meterProvider.forceFlush();
    expect(stats).not.toHaveBeenCalled();
    await meterProvider.shutdown();
  });
});

describe('BatchingTracingModule', () => {
  it('takes the global providers where none is given, and does nothing where there are none', async () => {
    const queue = queueOf(await start({ tracerProvider: undefined, meterProvider: undefined }));
    expect(await traced('caller', () => queue.submit(3))).toBe(9);
    expect(spans('Squares.of batch')).toEqual([]);
  });

  it('refuses to be imported twice, or without BatchingModule', async () => {
    // The first of the two has started when the second refuses, and nothing would end its subscriptions.
    const silent = { tracerProvider: false, meterProvider: false } as const;
    @Module({ imports: [BatchingTracingModule.forRoot({ ...silent })] })
    class Feature {}
    const twice = await Test.createTestingModule({
      imports: [BatchingModule.forRoot(), BatchingTracingModule.forRoot(silent), Feature],
      providers: [Squares],
    }).compile();
    await expect(twice.init()).rejects.toThrow('BatchingTracingModule is imported twice');
    const alone = await Test.createTestingModule({ imports: [BatchingTracingModule.forRoot({})] }).compile();
    await expect(alone.init()).rejects.toThrow('needs BatchingModule.forRoot()');
  });

  it.each([
    [{ tracerProvider: {} }, 'tracerProvider: expected false or a provider with getTracer(), got an Object'],
    [{ meterProvider: true }, 'meterProvider: expected false or a provider with getMeter(), got true'],
    [{ slo: { p99: 0 } }, 'slo.p99: expected milliseconds > 0, got 0'],
  ])('refuses %j', async (options, message) => {
    await expect(start(options as BatchingTracingOptions)).rejects.toThrow(
      `BatchingTracingModule.forRoot(): ${message}`,
    );
  });
});
