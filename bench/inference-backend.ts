import 'reflect-metadata';
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import {
  Body,
  Controller,
  Inject,
  Injectable,
  Logger,
  Module,
  type NestApplicationOptions,
  Post,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import autocannon from 'autocannon';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  BatchQueue,
  getBatchedToken,
  InjectBatched,
} from 'nest-batching';
import type { OnnxExecutionProvider, OnnxModel } from 'nest-batching/onnx';
import type { InferenceTimings, TfjsBackend, TfjsModel } from 'nest-batching/tfjs';
import type * as Memory from '../libs/batching/src/inference/main/batch-memory.js';
import type * as Layout from '../libs/batching/src/inference/protocol/batch-layout.js';
import type * as Loaded from '../libs/batching/src/inference/worker/loaded-model.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import { deviceLimits, type DeviceLimits } from './device-limits.js';
import { onnxSide } from './onnx-side.js';
import { built, type Loops, type RuntimeSide, type Subject } from './runtime-side.js';
import { median } from './table.js';
import { tfjsSide } from './tfjs-side.js';

/** What this process tells the one that started it, as it gets to know it. */
export type BackendMessage =
  { leftOut: string } | { device: string; model: ModelFigures } | { limits: DeviceLimits };

/** A network with so many workers, and so many batches at a time. */
export interface ModelFigures {
  name: string;
  batchSize: number;
  /** Inference workers that it had. */
  workers: number;
  concurrency: number;
  /** Inputs per second, per round: `single` and `offline` of as many loops as there are workers, each in a thread. */
  single: number[];
  offline: number[];
  injected: number[];
  http: number[];
  meanBatch: number;
  /** Milliseconds from a full batch to its results while nothing else runs, per round. */
  latency: number[];
  /** p99 of the event loop's delay while the injected method is saturated, and while the same runs on the main thread. */
  loopDelay: number;
  loopDelayWithout: number | undefined;
  timings: InferenceTimings;
}

type Model = TfjsModel | OnnxModel;

const folder = mkdtempSync(join(tmpdir(), 'bench-inference-'));
const [backend = '', rounds, roundMs] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
/** Rounds for moments: the first figures only. */
const quick = process.argv[5] === 'quick';
const side = sideOf(backend);

function sideOf(name: string): RuntimeSide {
  const digits = join(import.meta.dirname, '../apps/demo-api/models/digits');
  const [, provider] = /^onnx-(.+)$/.exec(name) ?? [];
  return provider
    ? onnxSide(provider as OnnxExecutionProvider, digits)
    : tfjsSide(name as TfjsBackend, digits);
}

function subjectsOf({ digits, mlp, esrgan }: RuntimeSide['paths']): Subject[] {
  const image = { name: 'digits CNN', path: digits, shape: [28, 28, 1], batchSize: 64, overHttp: true };
  const perceptron = { name: 'MLP', path: mlp(folder), shape: [784], batchSize: 64, overHttp: false };
  const tiles = esrgan && {
    name: 'ESRGAN tiles of 48 × 48',
    path: esrgan,
    shape: [48, 48, 3],
    inputShape: [48, 48, 3],
    batchSize: 4,
    overHttp: false,
  };
  // To a GPU, handing over a batch of those sizes costs more than running it.
  const large = { overHttp: false, onGpuOnly: true };
  return [
    image,
    perceptron,
    ...(tiles ? [tiles] : []),
    { ...image, ...large, batchSize: 1024 },
    { ...perceptron, ...large, batchSize: 1024 },
    ...(tiles ? [{ ...tiles, ...large, batchSize: 32 }] : []),
  ];
}

/** A backend that does not start is left out, and ends nothing. */
const startOptions: Pick<NestApplicationOptions, 'abortOnError'> = { abortOnError: false };

@Injectable()
class Inference {
  constructor(@Inject(side.tokenOf('subject')) private readonly model: Model) {}

  @BatchedService(64, 2)
  infer(inputs: readonly Uint8Array[]): Promise<Float32Array[]> {
    return this.model.predict(inputs);
  }
}

@Controller()
class InferenceController {
  constructor(@InjectBatched(Inference) private readonly inference: Batched<Inference>) {}

  @Post()
  async infer(@Body() input: Buffer): Promise<number[]> {
    return [...(await this.inference.infer(input))];
  }
}

Logger.overrideLogger(['error', 'warn']);
try {
  let onGpu = false;
  const subjects = subjectsOf(side.paths);
  const [first] = subjects;
  assert(first);
  const byDefault = await countWorkers(first);
  // Many workers last: what a time limit cuts off is of the least interest.
  for (const workers of workerCounts(byDefault)) {
    for (const subject of subjects) {
      if (subject.onGpuOnly && !onGpu) continue;
      for (const figures of await measure(subject, workers)) {
        onGpu = figures.device.startsWith('GPU');
        tell(figures);
      }
    }
    // Plain JavaScript has no device: nothing is copied anywhere.
    if (workers === 1 && backend !== 'cpu' && !backend.startsWith('onnx-')) {
      tell({ limits: await deviceLimits(backend as TfjsBackend, roundMs) });
    }
  }
} catch (error) {
  if (!(error instanceof side.BackendError)) throw error;
  tell({ leftOut: error.message });
} finally {
  rmSync(folder, { recursive: true });
}
process.disconnect();

function tell(message: BackendMessage): void {
  process.send?.(message);
}

/** One worker, as many as `auto` starts, and then what lies between. */
function workerCounts(byDefault: number): number[] {
  const between = [2, 4, 8].filter((count) => count < byDefault);
  return [...new Set([1, byDefault, ...(quick ? [] : between)])];
}

/** One batch at a time, which is split over the workers; two; and two for each worker. */
function concurrencies(workers: number): number[] {
  return [...new Set([1, 2, 2 * workers])];
}

/** The workers of `auto` on this backend and this machine. */
async function countWorkers({ name, path }: Subject): Promise<number> {
  @Module({ imports: [side.root('auto'), side.feature([{ name, path }])] })
  class CountModule {}
  const app = await NestFactory.createApplicationContext(CountModule, startOptions);
  const { workers } = app.get<Model>(side.tokenOf(name), { strict: false });
  await app.close();
  return workers;
}

/** A row for each number of batches at a time, measured in turns. */
async function measure(
  subject: Subject,
  workers: number,
): Promise<{ device: string; model: ModelFigures }[]> {
  const { name, path, inputShape, batchSize, overHttp } = subject;
  // What is padded by default is warmed up to 64.
  const batchSizes = batchSize > 64 ? [1, batchSize / 2, batchSize] : undefined;
  @Module({
    imports: [
      BatchingModule.forRoot({ queues: { 'Inference.infer': { batchSize } } }),
      side.root(workers),
      side.feature([
        { name: 'subject', path, inputShape, batchSizes },
        ...(side.loopModels?.(subject, folder) ?? []),
      ]),
    ],
    providers: [Inference],
    controllers: [InferenceController],
  })
  class BenchModule {}
  const app = await NestFactory.create<NestExpressApplication>(BenchModule, startOptions);
  app.useBodyParser('raw', { limit: '1mb' });
  await app.listen(0, '127.0.0.1');
  const url = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`;
  const inference = app.get<Batched<Inference>>(getBatchedToken(Inference), { strict: false });
  const model = app.get<Model>(side.tokenOf('subject'), { strict: false });
  const loops = await side.loops(app, subject);

  const inputs = randomInputs(subject);
  const expected: Float32Array[] = [];
  for (const input of inputs) expected.push(...(await model.predict([input])));
  const check = (result: Float32Array, i: number) => {
    const difference = Math.abs((result[0] ?? NaN) - (expected[i]?.[0] ?? NaN));
    assert(
      difference < 1e-3 * Math.max(1, Math.abs(expected[i]?.[0] ?? 1)),
      `a wrong result: off by ${difference}`,
    );
  };

  const offline = await offlineRate(loops, batchSize);
  const single = await offlineRate(loops, 1);
  const shared = { single: [] as number[], offline: [] as number[], latency: [] as number[] };
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const injectedRate = (concurrency: number) => {
    inference.infer.queue.concurrency = concurrency;
    const infer = (i: number) => inference.infer(inputs[i] ?? new Uint8Array());
    return closedLoop(infer, inputs, batchSize * (concurrency + 2), check);
  };
  const rows = concurrencies(workers).map((concurrency) => ({
    concurrency,
    injected: [] as number[],
    delays: [] as number[],
    timings: [] as InferenceTimings[],
  }));
  for (const { concurrency } of rows) await injectedRate(concurrency);
  for (let round = 0; round < rounds; round++) {
    shared.single.push(await single());
    shared.offline.push(await offline());
    shared.latency.push(await latencyOf(model, inputs, batchSize));
    for (const { concurrency, injected, delays, timings } of rows) {
      const before = model.timings;
      delay.reset();
      delay.enable();
      injected.push(await injectedRate(concurrency));
      delay.disable();
      delays.push(delay.percentile(99) / 1e6);
      timings.push(difference(model.timings, before));
    }
  }
  const http: number[] = [];
  if (overHttp && !quick) {
    inference.infer.queue.concurrency = 2;
    for (let round = 0; round < rounds; round++)
      http.push(await httpRate(url, inputs[0] ?? new Uint8Array()));
  }
  const { device } = model;
  await loops.end();
  await app.close();
  const loopDelayWithout = workers === 1 ? await delayOnMainThread(subject) : undefined;
  return rows.map(({ concurrency, injected, delays, timings: parts }) => {
    const timings = parts.reduce(sum);
    return {
      device,
      model: {
        ...shared,
        name,
        batchSize,
        workers,
        concurrency,
        injected,
        http: concurrency === 2 ? http : [],
        meanBatch: timings.inputs / timings.batches,
        loopDelay: Math.max(...delays),
        loopDelayWithout: concurrency === 2 ? loopDelayWithout : undefined,
        timings,
      },
    };
  });
}

/** Gives a function that runs an offline loop for each worker for about a round, and tells inputs per second of all. */
async function offlineRate({ run }: Loops, size: number): Promise<() => Promise<number>> {
  // The first batch of a shape may take much longer.
  await run(1, size);
  const perBatch = Math.max(...(await run(3, size))) / 3;
  const batches = Math.max(1, Math.round(roundMs / perBatch));
  return async () =>
    (await run(batches, size)).reduce((rate, time) => rate + (batches * size * 1000) / time, 0);
}

/** Median milliseconds of a full batch while nothing else runs. At least nine, as the first ways to split it are tried. */
async function latencyOf(model: Model, inputs: readonly Uint8Array[], size: number): Promise<number> {
  const batch = Array.from({ length: size }, (_, i) => inputs[i % inputs.length] ?? new Uint8Array());
  const times: number[] = [];
  for (const end = performance.now() + roundMs; times.length < 9 || performance.now() < end;) {
    const start = performance.now();
    await model.predict(batch);
    times.push(performance.now() - start);
  }
  return median(times);
}

/** Callers that each ask again when they have their answer, for a round; answers per second. */
async function closedLoop(
  infer: (i: number) => Promise<Float32Array>,
  inputs: readonly Uint8Array[],
  callers: number,
  check: (result: Float32Array, i: number) => void,
): Promise<number> {
  const start = performance.now();
  const end = start + roundMs;
  let answers = 0;
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      for (let i = caller % inputs.length; performance.now() < end; i = (i + 1) % inputs.length) {
        check(await infer(i), i);
        answers += 1;
      }
    }),
  );
  return (answers * 1000) / (performance.now() - start);
}

async function httpRate(url: string, body: Uint8Array): Promise<number> {
  const { requests, duration, non2xx, errors } = await autocannon({
    url,
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    // As text, since a Buffer would not reach autocannon's thread as one.
    body: Buffer.from(body).toString('ascii'),
    connections: 128,
    duration: Math.ceil(roundMs / 1000),
    workers: 1,
  });
  assert.equal(non2xx + errors, 0, 'a request failed');
  return requests.total / duration;
}

/** p99 of the event loop's delay, in milliseconds, with the same queue and the same model, but without the worker. */
async function delayOnMainThread({ path, shape, inputShape, batchSize }: Subject): Promise<number> {
  const { BatchMemory } = (await import(built('inference/main/batch-memory.js'))) as typeof Memory;
  const { tensorsOf } = (await import(built('inference/protocol/batch-layout.js'))) as typeof Layout;
  const { LoadedModel } = (await import(built('inference/worker/loaded-model.js'))) as typeof Loaded;
  const runtime = await side.onMainThread();
  const model = await LoadedModel.load(runtime, { path, inputShape });
  const memory = new BatchMemory();
  const queue = new BatchQueue(
    async (inputs: readonly Uint8Array[]) => {
      const batch = memory.take(model.description, inputs.length, [true]);
      const tensors = tensorsOf(batch, model.description);
      inputs.forEach((input, i) => tensors.inputs[0]?.values.set(input, i * product(shape)));
      await runtime.checked(() => model.run(batch));
      memory.giveBack(batch);
      return inputs.map(() => new Float32Array(1));
    },
    { batchSize, maxDelay: 2, name: 'main thread' },
  );
  const input = new Uint8Array(product(shape));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await closedLoop(
    () => queue.submit(input),
    [input],
    4 * batchSize,
    () => undefined,
  );
  delay.disable();
  model.dispose();
  return delay.percentile(99) / 1e6;
}

/** Bytes that are ASCII, so that HTTP can send them as a text. */
function randomInputs({ shape }: Subject): Uint8Array[] {
  const random = randomNumbers(1);
  return Array.from({ length: 16 }, () => Uint8Array.from({ length: product(shape) }, () => random() * 128));
}

function difference(after: InferenceTimings, before: InferenceTimings): InferenceTimings {
  const steps = Object.keys(after) as (keyof InferenceTimings)[];
  return Object.fromEntries(
    steps.map((step) => [step, after[step] - before[step]]),
  ) as unknown as InferenceTimings;
}

function sum(one: InferenceTimings, other: InferenceTimings): InferenceTimings {
  const steps = Object.keys(one) as (keyof InferenceTimings)[];
  return Object.fromEntries(
    steps.map((step) => [step, one[step] + other[step]]),
  ) as unknown as InferenceTimings;
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
