import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { inspect } from 'node:util';
import type { io } from '@tensorflow/tfjs';
import { ModelFileError } from '../../inference/errors.js';

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
 * The files that one load of a model reads. It knows what was in them, and whether another load would find the same.
 */
export class ModelFiles {
  /** What a file was when it was read, by its path: see `stampOf`. */
  readonly #stamps = new Map<string, string>();
  readonly #checksums = new Map<string, string>();
  readonly #folder: string;

  /** `path`: the model's folder, or a file in it. */
  constructor(path: string) {
    this.#folder = isFolderNow(path) ? path : dirname(path);
  }

  /** SHA-256 of each file in hexadecimal, by its name as seen from the model's folder. */
  get checksums(): ModelChecksums {
    const named = [...this.#checksums].map(([file, checksum]) => [this.#nameOf(file), checksum] as const);
    return Object.fromEntries(named.toSorted(([one], [other]) => (one < other ? -1 : 1)));
  }

  #nameOf(file: string): string {
    return relative(this.#folder, file).split(sep).join('/');
  }

  /** The content of a file. Throws `ModelFileError`. */
  async read(file: string): Promise<Buffer> {
    await this.watch(file);
    try {
      const content = await readFile(file);
      this.#checksums.set(file, createHash('sha256').update(content).digest('hex'));
      return content;
    } catch (cause) {
      throw unreadable(file, cause);
    }
  }

  /** Takes note of a file that is read elsewhere, and piece by piece of what is in it. */
  async hash(file: string): Promise<void> {
    await this.watch(file);
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
    this.#checksums.set(file, hash.digest('hex'));
  }

  /** Takes note whether a path is there, before it is looked at: a change during the look is then one that came after. */
  async watch(path: string): Promise<void> {
    this.#stamps.set(path, await stampOf(path));
  }

  /** Whether a file that was read has been written since, was removed, or has come. */
  async changed(): Promise<boolean> {
    const now = await Promise.all([...this.#stamps.keys()].map(stampOf));
    return [...this.#stamps.values()].some((stamp, i) => stamp !== now[i]);
  }
}

/** SHA-256 of files in hexadecimal, by their names. */
export type ModelChecksums = Readonly<Record<string, string>>;

/** Throws `TypeError` unless these are checksums by the names of files. */
export function checkChecksums(model: string, checksums: unknown): void {
  if (checksums === undefined) return;
  const isChecksum = (value: unknown) => typeof value === 'string' && /^[\da-f]{64}$/i.test(value);
  if (typeof checksums === 'object' && checksums && Object.values(checksums).every(isChecksum)) return;
  throw new TypeError(
    `TfjsModule.forFeature: checksums of model '${model}' must be { 'weights.bin': SHA-256 in 64 hexadecimal digits }; ` +
      `they are ${inspect(checksums)}`,
  );
}

/** Differs when a file is not the one that it was. Of a folder only that there is one: what is read in it has its own. */
async function stampOf(path: string): Promise<string> {
  try {
    const stats = await stat(path, { bigint: true });
    if (stats.isDirectory()) return 'folder';
    return [stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
  } catch {
    return 'missing';
  }
}

function isFolderNow(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/**
 * Reads a model from disk: `path` is its `model.json` or the folder that holds it. Every weight file is checked against
 * the size that follows from `model.json`, since TensorFlow.js would make weights of whatever is there.
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
    const hint = hintFor(content);
    throw new ModelFileError(
      `${file} (${content.byteLength} bytes) is not JSON, or is cut off${hint && `: ${hint}`}`,
      { cause },
    );
  }
  const { modelTopology, weightsManifest } = json ?? {};
  if (!modelTopology || typeof modelTopology !== 'object' || !Array.isArray(weightsManifest)) {
    throw new ModelFileError(`${file} is no TensorFlow.js model: it needs modelTopology and weightsManifest`);
  }
  return { ...json, modelTopology, weightsManifest };
}

/** How the files begin that are often found in a `model.json`'s or weight file's place, and what to do then. */
const beginnings: [bytes: string | Uint8Array, hint: string][] = [
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
  const found = beginnings.find(([bytes]) => content.subarray(0, bytes.length).equals(Buffer.from(bytes)));
  return found?.[1] ?? '';
}

function checkSize(weights: io.WeightsManifestEntry[], files: string[], contents: Buffer[]): void {
  const expected = weights.reduce((sum, weight) => sum + bytesOf(weight), 0);
  const found = contents.reduce((sum, { byteLength }) => sum + byteLength, 0);
  // Strings carry their own lengths, so a group with strings has no expected size: the sum is NaN.
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
    shape.reduce((product, dim) => product * dim, 1) * (bytesPerValue[quantization?.dtype ?? dtype] ?? NaN)
  );
}
