import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { io } from '@tensorflow/tfjs';
import { ModelFileError } from './errors.js';

const bytesPerValue: Partial<Record<string, number>> = {
  float32: 4,
  int32: 4,
  complex64: 8,
  float16: 2,
  uint16: 2,
  uint8: 1,
  bool: 1,
};

/**
 * Reads a model from disk: `path` is its `model.json` or the folder that holds it. Every weight file is checked against
 * the size that follows from `model.json`, since TensorFlow.js would make weights of whatever is there.
 */
export async function readModelFiles(
  path: string,
): Promise<{ json: io.ModelJSON; weightSpecs: io.WeightsManifestEntry[]; weightData: ArrayBuffer[] }> {
  const file = (await isFolder(path)) ? join(path, 'model.json') : path;
  const json = parseModelJson(file, await read(file));
  const weightData: ArrayBuffer[] = [];
  for (const group of json.weightsManifest) {
    const files = group.paths.map((name) => join(dirname(file), name));
    const contents = await Promise.all(files.map(read));
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

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(file: string, cause: unknown): ModelFileError {
  const why =
    (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'is missing' : `cannot be read: ${String(cause)}`;
  return new ModelFileError(`${file} ${why}`, { cause });
}

function parseModelJson(file: string, content: Buffer): io.ModelJSON {
  let json: Partial<io.ModelJSON> | null;
  try {
    json = JSON.parse(content.toString()) as typeof json;
  } catch (cause) {
    throw new ModelFileError(`${file} (${content.byteLength} bytes) is not JSON, or is cut off`, { cause });
  }
  const { modelTopology, weightsManifest } = json ?? {};
  if (!modelTopology || typeof modelTopology !== 'object' || !Array.isArray(weightsManifest)) {
    throw new ModelFileError(`${file} is no TensorFlow.js model: it needs modelTopology and weightsManifest`);
  }
  return { ...json, modelTopology, weightsManifest };
}

function checkSize(weights: io.WeightsManifestEntry[], files: string[], contents: Buffer[]): void {
  const expected = weights.reduce((sum, weight) => sum + bytesOf(weight), 0);
  const found = contents.reduce((sum, { byteLength }) => sum + byteLength, 0);
  // Strings carry their own lengths, so a group with strings has no expected size: the sum is NaN.
  if (found === expected || Number.isNaN(expected)) return;
  const each = files.map((file, i) => `${file} (${contents[i]?.byteLength ?? 0} bytes)`).join(', ');
  throw new ModelFileError(
    `${each}: expected ${expected} bytes of weights, found ${found}; truncated, or another model's`,
  );
}

function bytesOf({ shape, dtype, quantization }: io.WeightsManifestEntry): number {
  return (
    shape.reduce((product, dim) => product * dim, 1) * (bytesPerValue[quantization?.dtype ?? dtype] ?? NaN)
  );
}
