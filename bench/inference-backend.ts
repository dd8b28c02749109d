import 'reflect-metadata';
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import {
  Body,
  Controller,
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
import {
  getTfjsModelToken,
  type InferenceTimings,
  InjectTfjsModel,
  startBackend,
  TfjsBackendError,
  type TfjsBackend,
  TfjsModel,
  TfjsModule,
} from 'nest-batching/tfjs';
import type * as Memory from '../libs/batching/src/inference/main/batch-memory.js';
import type * as Layout from '../libs/batching/src/inference/protocol/batch-layout.js';
import type * as Loaded from '../libs/batching/src/inference/worker/loaded-model.js';
import type * as Runtime from '../libs/batching/src/tfjs/worker/tfjs-runtime.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import { deviceLimits, type DeviceLimits } from './device-limits.js';

/** What this process tells the one that started it, as it gets to know it. */
export type BackendMessage =
  { leftOut: string } | { device: string; model: ModelFigures } | { limits: DeviceLimits };

export interface ModelFigures {
  name: string;
  batchSize: number;
  /** Inference workers that it had. */
  workers: number;
  /** Inputs per second, per round: `single` and `offline` of as many loops as there are workers, each in a thread. */
  single: number[];
  offline: number[];
  injected: number[];
  http: number[];
  meanBatch: number;
  /** p99 of the event loop's delay while the injected method is saturated, and while the same runs on the main thread. */
  loopDelay: number;
  loopDelayWithout: number | undefined;
  timings: InferenceTimings;
}

interface Subject {
  name: string;
  path: string;
  shape: number[];
  batchSize: number;
  callers: number;
  overHttp: boolean;
  /** For the batches that a GPU is made for. */
  onGpuOnly?: boolean;
}

const built = (file: string) => new URL(`../dist/libs/batching/${file}`, import.meta.url).href;
const root = (path: string) => join(import.meta.dirname, '..', path);
const folder = mkdtempSync(join(tmpdir(), 'bench-inference-'));

/** 784 → 1024 → 1024 → 10: nothing but matrix products. */
const mlp = writeModule(
  'mlp',
  `
  export const inputs = { pixels: { shape: [784] } };
  export const load = (tf) => tf.sequential({ layers: [
    tf.layers.dense({ units: 1024, activation: 'relu', inputShape: [784], kernelInitializer: tf.initializers.heNormal({ seed: 1 }) }),
    tf.layers.dense({ units: 1024, activation: 'relu', kernelInitializer: tf.initializers.heNormal({ seed: 2 }) }),
    tf.layers.dense({ units: 10, activation: 'softmax', kernelInitializer: tf.initializers.heNormal({ seed: 3 }) }),
  ] });
  export const run = (tf, pixels, model) => model.predictOnBatch(tf.div(pixels, 255));
  `,
);

const digits: Subject = {
  name: 'digits CNN',
  path: root('apps/demo-api/models/digits'),
  shape: [28, 28, 1],
  batchSize: 64,
  callers: 256,
  overHttp: true,
};
const perceptron: Subject = {
  name: 'MLP',
  path: mlp,
  shape: [784],
  batchSize: 64,
  callers: 256,
  overHttp: false,
};
const esrgan: Subject = {
  name: 'ESRGAN tiles of 48 × 48',
  path: join(packageFolder('@upscalerjs/default-model'), 'models'),
  shape: [48, 48, 3],
  batchSize: 4,
  callers: 16,
  overHttp: false,
};
// To a GPU, handing over a batch of those sizes costs more than running it.
const large = { overHttp: false, onGpuOnly: true };
const subjects: readonly Subject[] = [
  digits,
  perceptron,
  esrgan,
  { ...digits, ...large, batchSize: 1024, callers: 4096 },
  { ...perceptron, ...large, batchSize: 1024, callers: 4096 },
  { ...esrgan, ...large, batchSize: 32, callers: 128 },
];

const [backend, rounds, roundMs] = [
  process.argv[2] as TfjsBackend,
  Number(process.argv[3]),
  Number(process.argv[4]),
];

/** A backend that does not start is left out, and ends nothing. */
const startOptions: Pick<NestApplicationOptions, 'abortOnError'> = { abortOnError: false };

@Injectable()
class Inference {
  constructor(@InjectTfjsModel('subject') private readonly model: TfjsModel) {}

  /** Two batches at a time: on one worker, one is filled and handed over while the other runs. */
  @BatchedService(64, 2, { concurrency: 2 })
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
  const workersByDefault = await countWorkers();
  for (const subject of subjects) {
    // In plain JavaScript one tile takes half a minute.
    if (backend === 'cpu' && subject.name.startsWith('ESRGAN')) continue;
    if (subject.onGpuOnly && !onGpu) continue;
    const figures = await measure(subject, 1);
    onGpu = figures.device.startsWith('GPU');
    tell(figures);
    if (workersByDefault > 1) tell(await measure(subject, 'auto'));
  }
  // Plain JavaScript has no device: nothing is copied anywhere.
  if (backend !== 'cpu') tell({ limits: await deviceLimits(backend, roundMs) });
} catch (error) {
  if (!(error instanceof TfjsBackendError)) throw error;
  tell({ leftOut: error.message });
} finally {
  rmSync(folder, { recursive: true });
}
process.disconnect();

function tell(message: BackendMessage): void {
  process.send?.(message);
}

/** The workers of `auto` on this backend and this machine. */
async function countWorkers(): Promise<number> {
  @Module({
    imports: [
      TfjsModule.forRoot({ backend }),
      TfjsModule.forFeature([{ name: digits.name, path: digits.path }]),
    ],
  })
  class CountModule {}
  const app = await NestFactory.createApplicationContext(CountModule, startOptions);
  const { workers } = app.get<TfjsModel>(getTfjsModelToken(digits.name), { strict: false });
  await app.close();
  return workers;
}

async function measure(
  subject: Subject,
  workers: 1 | 'auto',
): Promise<{ device: string; model: ModelFigures }> {
  const { name, path, shape, batchSize, callers, overHttp } = subject;
  const inputShape = name.startsWith('ESRGAN') ? shape : undefined;
  @Module({
    imports: [
      BatchingModule.forRoot({ queues: { 'Inference.infer': { batchSize } } }),
      TfjsModule.forRoot({ backend, workers }),
      TfjsModule.forFeature([
        { name: 'subject', path, inputShape, batchSizes: [1, batchSize / 2, batchSize] },
        { name: 'offline loop', path: offlineLoop(subject) },
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
  const model = app.get<TfjsModel>(getTfjsModelToken('subject'), { strict: false });
  const loop = app.get<TfjsModel>(getTfjsModelToken('offline loop'), { strict: false });

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

  const offline = await offlineRate(loop, batchSize);
  const single = await offlineRate(loop, 1);
  const injectedRate = () =>
    closedLoop((i) => inference.infer(inputs[i] ?? new Uint8Array()), inputs, callers, check);
  await injectedRate();
  const before = model.timings;
  const figures: ModelFigures = {
    name,
    batchSize,
    workers: model.workers,
    single: [],
    offline: [],
    injected: [],
    http: [],
    meanBatch: 0,
    loopDelay: 0,
    loopDelayWithout: undefined,
    timings: before,
  };
  const delay = monitorEventLoopDelay({ resolution: 1 });
  for (let round = 0; round < rounds; round++) {
    figures.single.push(await single());
    figures.offline.push(await offline());
    delay.enable();
    figures.injected.push(await injectedRate());
    delay.disable();
  }
  figures.timings = difference(model.timings, before);
  figures.meanBatch = figures.timings.inputs / figures.timings.batches;
  figures.loopDelay = delay.percentile(99) / 1e6;
  if (overHttp) {
    for (let round = 0; round < rounds; round++)
      figures.http.push(await httpRate(url, inputs[0] ?? new Uint8Array()));
  }
  const { device } = model;
  await app.close();
  figures.loopDelayWithout = await delayOnMainThread(subject, inputShape);
  return { device, model: figures };
}

/**
 * Own code for the worker that measures the limit: the same model, a batch that is there already, and its results read,
 * again and again. Its input is how many batches of which size; its result the milliseconds that they took.
 */
function offlineLoop({ name, path, shape }: Subject): string {
  const source = JSON.stringify(path);
  const load = path.endsWith('.mjs')
    ? `
      import * as own from ${source};
      export const load = async (tf) => {
        const model = await own.load(tf);
        return (input) => own.run(tf, input, model);
      };`
    : `
      export const load = async (tf, loadModel) => {
        const model = await loadModel(${source});
        return (input) => model.predictOnBatch(input);
      };`;
  return writeModule(
    `offline ${name}`,
    `${load}
    export const inputs = { batches: { shape: [1] }, size: { shape: [1] } };
    export const run = async (tf, { batches, size }, predict) => {
      const [count] = await batches.data();
      const [n] = await size.data();
      const values = Float32Array.from({ length: n * ${product(shape)} }, (_, i) => (i * 37) % 256);
      const start = performance.now();
      for (let i = 0; i < count; i++) {
        const input = tf.tensor(values, [n, ${shape.join(', ')}]);
        const output = tf.tidy(() => predict(input));
        await output.data();
        tf.dispose([input, output]);
      }
      return tf.fill(batches.shape, performance.now() - start);
    };`,
  );
}

/** Gives a function that runs an offline loop in each worker for about a round, and tells inputs per second of all. */
async function offlineRate(loop: TfjsModel, size: number): Promise<() => Promise<number>> {
  // Loops that are asked for at the same time run in different workers.
  const timed = async (batches: number) => {
    const loops = Array.from({ length: loop.workers }, () =>
      loop.predict([{ batches: [batches], size: [size] }]),
    );
    return (await Promise.all(loops)).map(([result]) => result?.output?.[0] ?? NaN);
  };
  // The first batch of a shape may take much longer.
  await timed(1);
  const perBatch = Math.max(...(await timed(3))) / 3;
  const batches = Math.max(1, Math.round(roundMs / perBatch));
  return async () => (await timed(batches)).reduce((rate, time) => rate + (batches * size * 1000) / time, 0);
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
async function delayOnMainThread(
  { path, shape, batchSize, callers }: Subject,
  inputShape: number[] | undefined,
): Promise<number> {
  const { BatchMemory } = (await import(built('inference/main/batch-memory.js'))) as typeof Memory;
  const { tensorsOf } = (await import(built('inference/protocol/batch-layout.js'))) as typeof Layout;
  const { LoadedModel } = (await import(built('inference/worker/loaded-model.js'))) as typeof Loaded;
  const { TfjsRuntime } = (await import(built('tfjs/worker/tfjs-runtime.js'))) as typeof Runtime;
  const runtime = new TfjsRuntime(await startBackend(backend));
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
    callers,
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

function writeModule(name: string, source: string): string {
  const path = join(folder, `${name}.mjs`);
  writeFileSync(path, source);
  return path;
}

/** The folder of a package whose `exports` hide its package.json. */
function packageFolder(name: string): string {
  const main = createRequire(import.meta.url).resolve(name);
  return main.slice(0, main.indexOf(name) + name.length);
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
