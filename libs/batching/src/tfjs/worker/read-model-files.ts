import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { io } from '@tensorflow/tfjs';
import { ModelFileError } from '../../inference/errors.js';
import { ModelFiles, unreadable } from '../../inference/worker/model-files.js';

const BYTES_PER_VALUE: Partial<Record<string, number>> = {
  float32: 4,
  int32: 4,
  complex64: 8,
  float16: 2,
  uint16: 2,
  uint8: 1,
  bool: 1,
};

/**
 * Reads a layers or graph model from disk. The sizes of weight files are checked against `model.json`,
 * because TensorFlow.js accepts files of any size.
 *
 * @param path its `model.json`, or the folder with it
 * @throws {ModelFileError} if a file is missing or has the wrong size or format
 */
export async function readModelFiles(
  path: string,
  read = new ModelFiles(path),
): Promise<{ json: io.ModelJSON; weightSpecs: io.WeightsManifestEntry[]; weightData: ArrayBuffer[] }> {
  await read.watch(path);
  const file = (await isFolder(path)) ? join(path, 'model.json') : path;
  const json = parseModelJson(file, await read.read(file));
  const weightData: ArrayBuffer[] = [];
  for (const group of json.weightsManifest) {
    const files = group.paths.map((name) => join(dirname(file), name));
    const contents = await Promise.all(files.map((name) => read.read(name)));
    checkSize(group.weights, files, contents);
    weightData.push(...contents.map((content) => new Uint8Array(content).buffer));
  }
  return { json, weightSpecs: json.weightsManifest.flatMap(({ weights }) => weights), weightData };
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function parseModelJson(file: string, content: Buffer): io.ModelJSON {
  let json: Partial<io.ModelJSON> | null;
  try {
    json = JSON.parse(content.toString()) as typeof json;
  } catch (cause) {
    const hint = hintFor(content);
    throw new ModelFileError(
      `${file} (${content.byteLength} bytes) is not JSON, or is cut off${hint && `: ${hint}`}`,
      { cause },
    );
  }
  const { modelTopology, weightsManifest } = json ?? {};
  if (!modelTopology || typeof modelTopology !== 'object' || !Array.isArray(weightsManifest)) {
    throw new ModelFileError(
      `${file} is not a TensorFlow.js model: it needs modelTopology and weightsManifest`,
    );
  }
  return { ...json, modelTopology, weightsManifest };
}

/** First bytes of files that are often found instead of a `model.json` or a weight file, and what to do. */
const BEGINNINGS: [bytes: string | Uint8Array, hint: string][] = [
  [Uint8Array.of(0xef, 0xbb, 0xbf), 'it begins with a byte order mark; save it as UTF-8 without one'],
  [Uint8Array.of(0xff, 0xfe), 'it is UTF-16, with a byte order mark; save it as UTF-8 without one'],
  [Uint8Array.of(0xfe, 0xff), 'it is UTF-16, with a byte order mark; save it as UTF-8 without one'],
  ['version https://git-lfs', 'it is a pointer of Git LFS; get the file itself with `git lfs pull`'],
  [
    'PK\u0003\u0004',
    'it is a zip archive, as Keras 3 writes (.keras); convert it with tensorflowjs_converter',
  ],
  [
    Uint8Array.of(0x89, 0x48, 0x44, 0x46),
    'it is HDF5, as Keras writes (.h5); convert it with tensorflowjs_converter',
  ],
];

function hintFor(content: Buffer): string {
  const found = BEGINNINGS.find(([bytes]) => content.subarray(0, bytes.length).equals(Buffer.from(bytes)));
  return found?.[1] ?? '';
}

function checkSize(weights: io.WeightsManifestEntry[], files: string[], contents: Buffer[]): void {
  const expected = weights.reduce((sum, weight) => sum + bytesOf(weight), 0);
  const found = contents.reduce((sum, { byteLength }) => sum + byteLength, 0);
  // Strings have lengths of their own, so a group with strings has no expected size: the sum is NaN.
  if (found === expected || Number.isNaN(expected)) return;
  const each = files.map((file, i) => `${file} (${contents[i]?.byteLength ?? 0} bytes)`).join(', ');
  const hint = contents.map(hintFor).find((hint) => hint);
  throw new ModelFileError(
    `${each}: expected ${expected} bytes of weights, found ${found}; truncated, or another model's` +
      (hint ? `: ${hint}` : ''),
  );
}

function bytesOf({ shape, dtype, quantization }: io.WeightsManifestEntry): number {
  return (
    shape.reduce((product, dim) => product * dim, 1) * (BYTES_PER_VALUE[quantization?.dtype ?? dtype] ?? NaN)
  );
}
