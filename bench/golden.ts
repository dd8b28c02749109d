import 'reflect-metadata';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type INestApplicationContext, Logger, Module, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { getTfjsModelToken, type TfjsBackend, type TfjsModel, TfjsModule } from 'nest-batching/tfjs';
import {
  randomFloats,
  writeConvModel,
  writeDenseModel,
  writeFunctionalModel,
  writeGraphModel,
  writeIntegerModel,
  writeModule,
  writeOpenModel,
  writeQuantizedModel,
  writeSignatureModel,
} from '../libs/batching/src/tfjs/models.fixture.js';

/**
 * The golden cases of one backend, in a process of its own: `golden.ts <backend>`. Small models against their plain
 * references, in batches of every size from 1 to 70 against each input alone, and the real networks against the backend
 * `cpu`. Ends with 1 when a case fails.
 */

export interface GoldenCase {
  name: string;
  /** The largest difference found, and the one allowed. */
  worst: number;
  bound: number;
}

/** What this process tells the one that started it. */
export type GoldenMessage = { device: string } | { golden: GoldenCase };

const backend = process.argv[2] as TfjsBackend;
/** Of results around 1. */
const tolerance = 2e-5;
const root = (path: string) => join(import.meta.dirname, '..', path);

const fixtures = {
  conv: writeConvModel(),
  dense: writeDenseModel(),
  graph: writeGraphModel(),
  branch: writeGraphModel({ branch: true }),
  integers: writeIntegerModel(),
  uint8: writeQuantizedModel('uint8'),
  uint16: writeQuantizedModel('uint16'),
  float16: writeQuantizedModel('float16'),
};
const functional = writeFunctionalModel();
const pixelsModule = writeModule(`
  export const inputs = { pixels: { shape: [3], dtype: 'int32' } };
  export const load = (tf, loadModel) => loadModel(${JSON.stringify(fixtures.dense.path)});
  export const run = (tf, pixels, dense) => dense.predictOnBatch(tf.div(tf.cast(pixels, 'float32'), 255));
`);
const networks = {
  'digits CNN': {
    path: root('apps/demo-api/models/digits'),
    shape: [28, 28, 1],
    inputs: 16,
    bound: tolerance,
  },
  // Its values go from 0 to 255.
  'ESRGAN tiles of 16 × 16': {
    path: join(packageFolder('@upscalerjs/default-model'), 'models'),
    shape: [16, 16, 3],
    inputs: 2,
    bound: 255 * tolerance,
  },
};

Logger.overrideLogger(['error', 'warn']);
const ours = await open(backend);
const cpu = await open('cpu');
tell({ device: model(ours, 'conv').device });

for (const [name, { reference }] of Object.entries(fixtures)) {
  const ourModel = model(ours, name);
  const length = ourModel.inputShape.reduce((a, b) => a * b, 1);
  const inputs = Array.from({ length: 70 }, (_, i) => randomFloats(length, 100 + i));
  const alone: Float32Array[] = [];
  for (const input of inputs) alone.push(...(await ourModel.predict([input])));
  let worst = Math.max(
    distance(alone, inputs.map(reference)),
    distance(alone, await model(cpu, name).predict(inputs)),
  );
  for (let size = 1; size <= inputs.length; size++) {
    const results = await ourModel.predict(inputs.slice(0, size));
    worst = Math.max(worst, distance(results, alone.slice(0, size)));
  }
  // Its weights are around 1, and its results up to twenty times as large.
  check(name, worst, name === 'float16' ? 20 * tolerance : tolerance);
}

const pairs = Array.from({ length: 9 }, (_, i) => ({ left: randomFloats(3, i), right: [i, 0.5] }));
const several = await model(ours, 'functional').predict(pairs);
check(
  'several tensors in and out',
  Math.max(
    distance(
      several.map(({ joined = [] }) => joined),
      pairs.map((pair) => functional.reference(pair).joined),
    ),
    distance(
      several.map(({ scores = [] }) => scores),
      pairs.map((pair) => functional.reference(pair).scores),
    ),
  ),
  tolerance,
);

const typed = await model(ours, 'signature').predict([
  { flags: [true, false, true], counts: [1, -2, 40_000] },
  { flags: [false, false, true], counts: [5, 6, 7] },
]);
check(
  'bools and integers',
  distance(
    typed.flatMap(({ not = [], negative = [] }) => [not, negative]),
    [
      [0, 1, 0],
      [-1, 2, -40_000],
      [1, 1, 0],
      [-5, -6, -7],
    ],
  ),
  0,
);

// Four of nine neighbours in a corner, six at an edge.
check(
  'an open shape',
  distance(await model(ours, 'open').predict([new Float32Array(12).fill(9)]), [
    [4, 6, 6, 4, 6, 9, 9, 6, 4, 6, 6, 4],
  ]),
  tolerance,
);

check(
  "a module's own code",
  distance(await model(ours, 'module').predict([Uint8Array.of(51, 102, 255)]), [
    fixtures.dense.reference([0.2, 0.4, 1]),
  ]),
  tolerance,
);

for (const [name, { shape, inputs: count, bound }] of Object.entries(networks)) {
  const length = shape.reduce((a, b) => a * b, 1);
  const inputs = Array.from({ length: count }, (_, i) =>
    randomFloats(length, i).map((value) => 127 + 127 * value),
  );
  check(
    name,
    distance(await model(ours, name).predict(inputs), await model(cpu, name).predict(inputs)),
    bound,
  );
}

await ours.close();
await cpu.close();
process.disconnect();

function open(backend: TfjsBackend): Promise<INestApplicationContext> {
  @Module({
    imports: [
      TfjsModule.forRoot({ backend }),
      TfjsModule.forFeature(Object.entries(fixtures).map(([name, { path }]) => ({ name, path }))),
      TfjsModule.forFeature(
        Object.entries(networks).map(([name, { path, shape }]) => ({ name, path, inputShape: shape })),
      ),
      TfjsModule.forFeature([
        { name: 'functional', path: functional.path },
        { name: 'signature', path: writeSignatureModel() },
        { name: 'open', path: writeOpenModel(), inputShape: [3, 4, 1] },
        { name: 'module', path: pixelsModule },
      ]),
    ],
  })
  class GoldenModule {}
  const options: Pick<NestApplicationOptions, 'abortOnError'> = { abortOnError: false };
  return NestFactory.createApplicationContext(GoldenModule, options);
}

function model(app: INestApplicationContext, name: string): TfjsModel {
  return app.get<TfjsModel>(getTfjsModelToken(name), { strict: false });
}

/** NaN where something is missing, so that no bound holds. */
function distance(results: readonly ArrayLike<number>[], expected: readonly ArrayLike<number>[]): number {
  if (results.length !== expected.length) return NaN;
  return Math.max(
    ...expected.map((values, i) =>
      results[i]?.length === values.length
        ? Math.max(...Array.from(values, (value, k) => Math.abs(value - (results[i]?.[k] ?? NaN))))
        : NaN,
    ),
  );
}

function check(name: string, worst: number, bound: number): void {
  const passed = worst <= bound;
  if (!passed) process.exitCode = 1;
  console.log(
    `${passed ? 'ok    ' : 'FAILED'}  ${name}: ${worst.toExponential(1)}, at most ${bound.toExponential(1)}`,
  );
  tell({ golden: { name, worst, bound } });
}

function tell(message: GoldenMessage): void {
  process.send?.(message);
}

/** The folder of a package whose `exports` hide its package.json. */
function packageFolder(name: string): string {
  const main = createRequire(import.meta.url).resolve(name);
  return main.slice(0, main.indexOf(name) + name.length);
}
