import 'reflect-metadata';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type INestApplicationContext, Logger, Module, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  getOnnxModelToken,
  type OnnxExecutionProvider,
  type OnnxModel,
  OnnxModule,
} from 'nest-batching/onnx';
import { getTfjsModelToken, type TfjsModel, TfjsModule } from 'nest-batching/tfjs';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import type { GoldenMessage } from './golden.js';
import { writeMlp } from './onnx-mlp.js';

/**
 * The golden cases of one execution provider of ONNX Runtime, in a process of its own: `golden-onnx.ts <provider>`. Each network
 * in batches of every size from 1 to 70, against the provider `cpu`, and the digits network against TensorFlow.js on `cpu`. Ends with 1
 * when a case fails.
 */

const executionProvider = process.argv[2] as OnnxExecutionProvider;
/** Of scores that add up to 1. */
const tolerance = 2e-5;
const folder = mkdtempSync(join(tmpdir(), 'golden-onnx-'));
const digits = join(import.meta.dirname, '../apps/demo-api/models/digits');
const networks = {
  'digits CNN': { path: join(digits, 'digits.onnx'), length: 28 * 28 },
  MLP: { path: writeMlp(folder), length: 784 },
};

Logger.overrideLogger(['error', 'warn']);
const ours = await open(executionProvider);
const cpu = await open('cpu');
tell({ device: model(ours, 'MLP').device });

const random = randomNumbers(1);
for (const [name, { length }] of Object.entries(networks)) {
  const inputs = Array.from({ length: 70 }, () => Uint8Array.from({ length }, () => random() * 256));
  const expected: Float32Array[] = [];
  for (const input of inputs) expected.push(...(await model(cpu, name).predict([input])));
  let worst = 0;
  for (let size = 1; size <= inputs.length; size++) {
    worst = Math.max(worst, distance(await model(ours, name).predict(inputs.slice(0, size)), expected));
  }
  check(`${name} as ONNX`, worst);
  if (name !== 'digits CNN') continue;
  const tfjs = cpu.get<TfjsModel>(getTfjsModelToken(name), { strict: false });
  check(`${name} as ONNX, against TensorFlow.js`, distance(await tfjs.predict(inputs), expected));
}

await ours.close();
await cpu.close();
rmSync(folder, { recursive: true });
process.disconnect();

function open(provider: OnnxExecutionProvider): Promise<INestApplicationContext> {
  @Module({
    imports: [
      OnnxModule.forRoot({ executionProvider: provider }),
      OnnxModule.forFeature(Object.entries(networks).map(([name, { path }]) => ({ name, path }))),
      TfjsModule.forRoot({ backend: 'cpu', workers: 1 }),
      TfjsModule.forFeature([{ name: 'digits CNN', path: digits }]),
    ],
  })
  class GoldenModule {}
  const options: Pick<NestApplicationOptions, 'abortOnError'> = { abortOnError: false };
  return NestFactory.createApplicationContext(GoldenModule, options);
}

function model(app: INestApplicationContext, name: string): OnnxModel {
  return app.get<OnnxModel>(getOnnxModelToken(name), { strict: false });
}

/** The largest difference of the results to the first of `expected`; NaN where something is missing. */
function distance(results: readonly Float32Array[], expected: readonly Float32Array[]): number {
  return Math.max(
    ...results.map((scores, i) =>
      Math.max(...scores.map((score, k) => Math.abs(score - (expected[i]?.[k] ?? NaN)))),
    ),
  );
}

function check(name: string, worst: number): void {
  const passed = worst <= tolerance;
  if (!passed) process.exitCode = 1;
  console.log(
    `${passed ? 'ok    ' : 'FAILED'}  ${name}: ${worst.toExponential(1)}, at most ${tolerance.toExponential(1)}`,
  );
  tell({ golden: { name, worst, bound: tolerance } });
}

function tell(message: GoldenMessage): void {
  process.send?.(message);
}
