import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type * as Ort from 'onnxruntime-node';
import { messageOf, ModelFileError } from '../../inference/errors.js';
import type { TensorValues } from '../../inference/protocol/batch-layout.js';
import type { ModelFiles } from '../../inference/worker/model-files.js';
import type { Network, RuntimeTensor } from '../../inference/worker/runtime.js';
import { elementTypes, type OnnxData } from './element-types.js';

/** A tensor in this thread's memory, or in that of the batch. */
export class OnnxTensor implements RuntimeTensor {
  constructor(
    readonly shape: readonly number[],
    readonly dtype: string,
    readonly read: () => TensorValues,
  ) {}

  data(): Promise<TensorValues> {
    return Promise.resolve(this.read());
  }
}

export interface OnnxNetwork extends Network<OnnxTensor> {
  /** Size of its files, in bytes. */
  readonly bytes: number;
}

/**
 * Loads the model at `path`: a file, or a folder with one.
 *
 * @param files records the files that are read
 * @throws {ModelFileError}, or what ONNX Runtime throws
 */
export async function loadNetwork(
  ort: typeof Ort,
  path: string,
  files: ModelFiles,
  options: Ort.InferenceSession.SessionOptions,
): Promise<OnnxNetwork> {
  await files.watch(path);
  const file = fileOf(path);
  const content = await files.read(file);
  const parts = externalFiles(content).map((name) => join(dirname(file), name));
  for (const part of parts) {
    await files.watch(part);
    if (existsSync(part)) await files.hash(part);
  }
  const bytes = [file, ...parts].reduce((sum, name) => sum + (statSync(name, ABSENT)?.size ?? 0), 0);
  const session = await createSession(ort, file, parts.length > 0 ? undefined : content, options);
  try {
    return networkOf(ort, session, bytes);
  } catch (error) {
    await session.release();
    throw error;
  }
}

const ABSENT = { throwIfNoEntry: false } as const;

function fileOf(path: string): string {
  if (!statSync(path, ABSENT)?.isDirectory()) return path;
  const found = readdirSync(path).filter((name) => /\.(onnx|ort)$/.test(name));
  const [only] = found;
  if (only !== undefined && found.length === 1) return join(path, only);
  throw new ModelFileError(
    `${path} must have one file .onnx or .ort; it has ${found.length === 0 ? 'none' : found.sort().join(', ')}`,
  );
}

/**
 * Names of the files, beside the model's, that hold weights: each is in an entry of keys and values of the
 * model's protocol buffer, `location` and the name. ONNX Runtime, which reads them, does not list them.
 */
function externalFiles(content: Buffer): string[] {
  const entry = Buffer.from('\n\u0008location\u0012');
  const found = new Set<string>();
  for (let at = content.indexOf(entry); at >= 0; at = content.indexOf(entry, at + 1)) {
    const start = at + entry.length + 1;
    const length = content[start - 1];
    // Names of 128 bytes and more have a length of two bytes; they are read, but not watched.
    if (length !== undefined && length < 128) found.add(content.toString('utf8', start, start + length));
  }
  return [...found];
}

/** @param content what to load; `undefined` to load the file, with others beside it */
async function createSession(
  ort: typeof Ort,
  file: string,
  content: Buffer | undefined,
  options: Ort.InferenceSession.SessionOptions,
): Promise<Ort.InferenceSession> {
  try {
    return await (content
      ? ort.InferenceSession.create(content, options)
      : ort.InferenceSession.create(file, options));
  } catch (cause) {
    const why = messageOf(cause);
    if (
      !/protobuf parsing failed|no graph was found|ModelProto|bytes for the model|external data/i.test(why)
    ) {
      throw cause;
    }
    const size = content ? ` (${content.byteLength} bytes)` : '';
    const hint = content?.subarray(0, LFS_POINTER.length).equals(LFS_POINTER)
      ? 'it is a pointer of Git LFS; get the file itself with `git lfs pull`'
      : why;
    throw new ModelFileError(`${file}${size} is no ONNX model, or is cut off: ${hint}`, { cause });
  }
}

const LFS_POINTER = Buffer.from('version https://git-lfs');

function networkOf(ort: typeof Ort, session: Ort.InferenceSession, bytes: number): OnnxNetwork {
  const inputs = session.inputMetadata.map((input) => tensorOf('input', input));
  for (const output of session.outputMetadata) tensorOf('output', output);
  for (const { name, type, shape } of inputs) {
    const [batch] = shape;
    if (typeof batch !== 'number') continue;
    throw new Error(
      `input '${name}' ${type}[${shape.join(', ')}] is for batches of ${batch}: export the model with an open first ` +
        'dimension, so that a batch may have any size (torch.onnx.export: dynamic_shapes or dynamic_axes)',
    );
  }
  return {
    kind: 'ONNX model',
    bytes,
    inputs: inputs.map(({ name, type, shape }) => ({
      name,
      shape: shape.map((dim) => (typeof dim === 'number' ? dim : null)),
      dtype: elementTypes[type]?.dtype ?? type,
    })),
    run: async (tensors) => {
      const feeds = inputs.map(({ name, type }, i) => {
        const tensor = tensors[i];
        const elements = elementTypes[type];
        if (!tensor || !elements) throw new Error(`input '${name}' ${type} has no tensor`);
        const data = named('input', name, () => elements.encode(tensor.read()));
        return [name, new ort.Tensor(type as 'float32', data as Float32Array, tensor.shape)] as const;
      });
      const results = await session.run(Object.fromEntries(feeds));
      return Object.fromEntries(Object.entries(results).map(([name, result]) => [name, read(name, result)]));
    },
    dispose: () => {
      void session.release();
    },
  };
}

/** @throws Error for what is no tensor, as the maps of scikit-learn's classifiers, and for tensors of strings */
function tensorOf(
  what: string,
  metadata: Ort.InferenceSession.ValueMetadata,
): Ort.InferenceSession.TensorValueMetadata {
  if (metadata.isTensor && metadata.type === 'string') {
    throw new Error(
      `${what} '${metadata.name}' is of strings, and batches are passed in shared memory, which holds numbers: encode strings ` +
        'outside the model (as indices into a vocabulary), and export labels as numbers',
    );
  }
  if (metadata.isTensor) return metadata;
  throw new Error(
    `${what} '${metadata.name}' is no tensor but a sequence or a map; export the model with tensors only (skl2onnx: zipmap=False)`,
  );
}

function read(name: string, { type, dims, data }: Ort.Tensor): OnnxTensor {
  const elements = elementTypes[type];
  return new OnnxTensor(dims, elements?.dtype ?? type, () => {
    if (!elements) throw new Error(`output '${name}' is ${type}`);
    return named('output', name, () => elements.decode(data as OnnxData));
  });
}

/** Adds the tensor's name to errors of a conversion. */
function named<T>(what: string, name: string, convert: () => T): T {
  try {
    return convert();
  } catch (cause) {
    throw new Error(`${what} '${name}': ${messageOf(cause)}`, { cause });
  }
}
