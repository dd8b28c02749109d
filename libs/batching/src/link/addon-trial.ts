import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as Tfjs from '@tensorflow/tfjs';

/**
 * The main file of a process that `link-tensorflow.ts` starts with two arguments, the folder of
 * `@tensorflow/tfjs-node(-gpu)` and a new addon: it loads the package with this addon, checks a matrix
 * product, and prints a `TrialReport`.
 */

export interface TrialReport {
  /** The path at which the package looks for its addon. */
  place: string;
  /** TensorFlow's version. */
  tensorflow: string;
  gpu: boolean;
}

const [folder = '', addon = ''] = process.argv.slice(2);
const require = createRequire(join(folder, 'package.json'));

// tfjs-node calls this function, which Node 23 removed; see tfjs/backend.ts.
const util = require('node:util') as { isNullOrUndefined: (value: unknown) => boolean };
util.isNullOrUndefined = (value) => value === null || value === undefined;

// The package asks node-pre-gyp for the path of its addon; replaced, it returns that of the new addon.
const preGyp = require('@mapbox/node-pre-gyp') as { find: (manifest: string) => string };
const place = preGyp.find(join(folder, 'package.json'));
const loaded = require.cache[require.resolve('@mapbox/node-pre-gyp')];
if (loaded) loaded.exports = { find: () => addon };
const tf = require(folder) as typeof Tfjs;
if (!(addon in require.cache)) throw new Error(`${folder} has not loaded ${addon}`);

const [rows, inner, columns] = [64, 48, 32] as const;
// Integers below 2 ** 8 are exact in every precision that a GPU may choose, and so are the sums in 32 bits.
const left = Array.from({ length: rows * inner }, (_, i) => (i * 7) % 251);
const right = Array.from({ length: inner * columns }, (_, i) => (i * 11) % 241);
const product = await tf
  .matMul(tf.tensor2d(left, [rows, inner]), tf.tensor2d(right, [inner, columns]))
  .data();
for (let row = 0; row < rows; row++) {
  for (let column = 0; column < columns; column++) {
    let expected = 0;
    for (let i = 0; i < inner; i++)
      expected += (left[row * inner + i] ?? 0) * (right[i * columns + column] ?? 0);
    const got = product[row * columns + column];
    if (got !== expected) throw new Error(`a matrix product has ${got ?? 'nothing'} instead of ${expected}`);
  }
}

const { isUsingGpuDevice, binding } = tf.backend() as Tfjs.KernelBackend & {
  isUsingGpuDevice: boolean;
  binding: { TF_Version: string };
};
const report: TrialReport = { place, tensorflow: binding.TF_Version, gpu: isUsingGpuDevice };
process.stdout.write(`${JSON.stringify(report)}\n`);
