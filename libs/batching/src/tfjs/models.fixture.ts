import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
// eslint-disable-next-line no-restricted-imports -- by its path: the bundle of `npm run bench:gpu` leaves packages out
import { randomNumbers } from '../../../figures/src/random-numbers.js';

/**
 * Small models for the specs, written as TensorFlow.js writes them, with plain references to compare against.
 */

/**
 * Where they are written; removed after the specs of a file, and in the benchmarks at the end of the process.
 */
const folder = mkdtempSync(join(tmpdir(), 'nest-batching-'));
const { afterAll } = globalThis as { afterAll?: (hook: () => void) => void };
const remove = () => {
  rmSync(folder, { recursive: true, force: true });
};
if (afterAll) afterAll(remove);
else process.once('exit', remove);

/** A folder that is removed with the models. */
export function temporaryFolder(): string {
  return mkdtempSync(join(folder, 'fixture-'));
}

export interface FixtureModel {
  /** The folder with `model.json` and `weights.bin`. */
  path: string;
  /** What the model computes, for one input, in plain loops. */
  reference: (input: ArrayLike<number>) => number[];
}

/** Numbers in [-1, 1), the same for the same seed. */
export function randomFloats(count: number, seed: number): Float32Array {
  const random = randomNumbers(seed);
  return Float32Array.from({ length: count }, () => 2 * random() - 1);
}

/** A layers model: [size, size, 2] → convolution 3×3 to 4 channels, relu → dense → [5]. */
export function writeConvModel({ size = 6, seed = 1 } = {}): FixtureModel {
  const inner = size - 2;
  const kernel = randomFloats(3 * 3 * 2 * 4, seed);
  const bias = randomFloats(4, seed + 1);
  const dense = randomFloats(inner * inner * 4 * 5, seed + 2);
  const topology = sequential([
    layer('Conv2D', {
      name: 'conv',
      batch_input_shape: [null, size, size, 2],
      dtype: 'float32',
      filters: 4,
      kernel_size: [3, 3],
      strides: [1, 1],
      padding: 'valid',
      activation: 'relu',
      use_bias: true,
    }),
    layer('Flatten', { name: 'flatten' }),
    layer('Dense', { name: 'dense', units: 5, activation: 'linear', use_bias: false }),
  ]);
  const path = write('layers-model', topology, [
    { name: 'conv/kernel', shape: [3, 3, 2, 4], values: kernel },
    { name: 'conv/bias', shape: [4], values: bias },
    { name: 'dense/kernel', shape: [inner * inner * 4, 5], values: dense },
  ]);
  const reference = (input: ArrayLike<number>) => {
    const scores = new Array<number>(5).fill(0);
    for (let y = 0; y < inner; y++) {
      for (let x = 0; x < inner; x++) {
        for (let c = 0; c < 4; c++) {
          let sum = at(bias, c);
          for (let i = 0; i < 18; i++) {
            const [ky, kx, kc] = [Math.floor(i / 6), Math.floor(i / 2) % 3, i % 2];
            sum += at(input, ((y + ky) * size + x + kx) * 2 + kc) * at(kernel, i * 4 + c);
          }
          const pixel = (y * inner + x) * 4 + c;
          for (let k = 0; k < 5; k++) scores[k] = at(scores, k) + Math.max(sum, 0) * at(dense, pixel * 5 + k);
        }
      }
    }
    return scores;
  };
  return { path, reference };
}

/**
 * A layers model of one matrix: [inputs] → [units]. With large numbers it keeps a device busy. It says that
 * it was trained with a loss that TensorFlow.js does not know, as models made elsewhere do.
 */
export function writeDenseModel({
  inputs = 3,
  units = 2,
  seed = 1,
  batch = null as number | null,
} = {}): FixtureModel {
  const kernel = randomFloats(inputs * units, seed);
  const topology = sequential([
    layer('Dense', {
      name: 'dense',
      batch_input_shape: [batch, inputs],
      dtype: 'float32',
      units,
      activation: 'linear',
      use_bias: false,
    }),
  ]);
  const trainingConfig = { loss: 'an unknown loss', optimizer_config: { class_name: 'Adam', config: {} } };
  const weights = [{ name: 'dense/kernel', shape: [inputs, units], values: kernel }];
  const path = write('layers-model', topology, weights, { trainingConfig });
  return { path, reference: (input) => product(input, kernel, units) };
}

/**
 * A graph model: [4] → MatMul → Relu → [3]. With `branch` the product goes through an (always taken) branch,
 * which TensorFlow.js runs asynchronously only; `reshape` forces the scores into a shape, as in models
 * exported for one batch size; with `op` another op takes Relu's place; with `outputs` there are several.
 */
export function writeGraphModel({
  seed = 1,
  branch = false,
  reshape = undefined as number[] | undefined,
  op = 'Relu',
  outputs = 1,
} = {}): FixtureModel {
  const matrix = randomFloats(4 * 3, seed);
  const float = { T: { type: 'DT_FLOAT' } };
  const constant = (name: string, dtype: string, dims: number[]) => ({
    name,
    op: 'Const',
    attr: { dtype: { type: dtype }, value: { tensor: { dtype, tensorShape: shapeOf(dims) } } },
  });
  const nodes = [
    {
      name: 'x',
      op: 'Placeholder',
      attr: { dtype: { type: 'DT_FLOAT' }, shape: { shape: shapeOf([-1, 4]) } },
    },
    constant('matrix', 'DT_FLOAT', [4, 3]),
    { name: 'product', op: 'MatMul', input: ['x', 'matrix'], attr: float },
    ...(branch
      ? [
          constant('yes', 'DT_BOOL', []),
          { name: 'switch', op: 'Switch', input: ['product', 'yes'], attr: float },
          { name: 'no', op: 'Neg', input: ['switch'], attr: float },
          { name: 'taken', op: 'Identity', input: ['switch:1'], attr: float },
          { name: 'merge', op: 'Merge', input: ['no', 'taken'], attr: float },
        ]
      : []),
    ...(reshape
      ? [
          constant('shape', 'DT_INT32', [2]),
          { name: 'reshaped', op: 'Reshape', input: ['product', 'shape'], attr: float },
        ]
      : []),
    ...Array.from({ length: outputs }, (_, i) => ({
      name: `scores${i}`,
      op,
      input: [branch ? 'merge' : reshape ? 'reshaped' : 'product'],
      attr: float,
    })),
  ];
  const path = write('graph-model', { node: nodes, versions: { producer: 1 } }, [
    { name: 'matrix', shape: [4, 3], values: matrix },
    ...(reshape ? [{ name: 'shape', shape: [2], values: Int32Array.from(reshape), dtype: 'int32' }] : []),
    ...(branch ? [{ name: 'yes', shape: [], values: Uint8Array.of(1), dtype: 'bool' }] : []),
  ]);
  return { path, reference: (input) => product(input, matrix, 3).map((score) => Math.max(score, 0)) };
}

/**
 * The dense model with its weights quantised, as `tensorflowjs_converter --quantize_*` writes them. The
 * reference computes with what the quantised weights stand for.
 */
export function writeQuantizedModel(dtype: 'uint8' | 'uint16' | 'float16'): FixtureModel {
  const [inputs, units] = [20, 7];
  const [min, scale] = dtype === 'uint8' ? [-1, 2 / 255] : [-1, 2 / 65_535];
  const kernel = Float32Array.from({ length: inputs * units }, (_, i) =>
    // Half floats: 1 + i / 1024, all of which they can hold.
    dtype === 'float16' ? 1 + i / 1024 : min + Math.fround(scale) * ((i * 37) % 256),
  );
  const codes = Array.from(kernel, (_, i) => (dtype === 'float16' ? 0x3c00 + i : (i * 37) % 256));
  const values = dtype === 'uint8' ? Uint8Array.from(codes) : Uint16Array.from(codes);
  const quantization =
    dtype === 'float16'
      ? { dtype, original_dtype: 'float32' }
      : { dtype, min, scale, original_dtype: 'float32' };
  const topology = sequential([
    layer('Dense', {
      name: 'dense',
      batch_input_shape: [null, inputs],
      dtype: 'float32',
      units,
      activation: 'linear',
      use_bias: false,
    }),
  ]);
  const weights = [{ name: 'dense/kernel', shape: [inputs, units], values, quantization }];
  return {
    path: write('layers-model', topology, weights),
    reference: (input) => product(input, kernel, units),
  };
}

/**
 * A layers model of two inputs and two outputs: `left` [3] and `right` [2], joined to `joined` [5], and their
 * `scores` [2] by a matrix.
 */
export function writeFunctionalModel({ seed = 1 } = {}): {
  path: string;
  reference: (input: { left: ArrayLike<number>; right: ArrayLike<number> }) => {
    joined: number[];
    scores: number[];
  };
} {
  const kernel = randomFloats(5 * 2, seed);
  const input = (name: string, size: number) => ({
    ...layer('InputLayer', { name, batch_input_shape: [null, size], dtype: 'float32', sparse: false }),
    name,
    inbound_nodes: [],
  });
  const topology = layer('Model', {
    name: 'model',
    layers: [
      input('left', 3),
      input('right', 2),
      {
        ...layer('Concatenate', { name: 'joined', axis: -1 }),
        name: 'joined',
        inbound_nodes: [
          [
            ['left', 0, 0, {}],
            ['right', 0, 0, {}],
          ],
        ],
      },
      {
        ...layer('Dense', { name: 'scores', units: 2, activation: 'linear', use_bias: false }),
        name: 'scores',
        inbound_nodes: [[['joined', 0, 0, {}]]],
      },
    ],
    input_layers: [
      ['left', 0, 0],
      ['right', 0, 0],
    ],
    output_layers: [
      ['joined', 0, 0],
      ['scores', 0, 0],
    ],
  });
  const path = write('layers-model', topology, [{ name: 'scores/kernel', shape: [5, 2], values: kernel }]);
  return {
    path,
    reference: ({ left, right }) => {
      const joined = [...Array.from(left), ...Array.from(right)];
      return { joined, scores: product(joined, kernel, 2) };
    },
  };
}

/**
 * A graph model with a signature that names its tensors: `flags`, bools, and `counts`, integers, both [3], to
 * the bools `not` and the integers `negative`.
 */
export function writeSignatureModel(): string {
  const placeholder = (name: string, type: string) => ({
    name,
    op: 'Placeholder',
    attr: { dtype: { type }, shape: { shape: shapeOf([-1, 3]) } },
  });
  const node = [
    placeholder('a', 'DT_BOOL'),
    placeholder('b', 'DT_INT32'),
    { name: 'c', op: 'LogicalNot', input: ['a'], attr: {} },
    { name: 'd', op: 'Neg', input: ['b'], attr: { T: { type: 'DT_INT32' } } },
  ];
  const tensor = (name: string, dtype: string) => ({
    name: `${name}:0`,
    dtype,
    tensorShape: shapeOf([-1, 3]),
  });
  const signature = {
    inputs: { flags: tensor('a', 'DT_BOOL'), counts: tensor('b', 'DT_INT32') },
    outputs: { not: tensor('c', 'DT_BOOL'), negative: tensor('d', 'DT_INT32') },
  };
  return write('graph-model', { node, versions: { producer: 1 } }, [], { signature });
}

/**
 * A layers model that leaves height and width open: [?, ?, 1] → the mean of 3 × 3 neighbours, zeros around →
 * [?, ?, 1].
 */
export function writeOpenModel(): string {
  const topology = sequential([
    layer('Conv2D', {
      name: 'conv',
      batch_input_shape: [null, null, null, 1],
      dtype: 'float32',
      filters: 1,
      kernel_size: [3, 3],
      strides: [1, 1],
      padding: 'same',
      activation: 'linear',
      use_bias: false,
    }),
  ]);
  const values = new Float32Array(9).fill(1 / 9);
  return write('layers-model', topology, [{ name: 'conv/kernel', shape: [3, 3, 1, 1], values }]);
}

/** A module of own code for the worker, as a file of its own. */
export function writeModule(source: string, extension = 'mjs'): string {
  const path = join(temporaryFolder(), `model.${extension}`);
  writeFileSync(path, source);
  return path;
}

/**
 * A SavedModel, for `tensorflow` only: `x` [3] floats and `k` [2] integers to `scores` = x · [[1, -2], [0.5,
 * 4], [-1, 0.25]] + k and `twice` = 2 · k. Made with TensorFlow 2.21 by `tf.saved_model.save` of a
 * `tf.function` with these tensors by name.
 */
export const savedModel = join(import.meta.dirname, 'saved-model.fixture');

/** A graph model of integers: [3] → Neg → [3]. */
export function writeIntegerModel(): FixtureModel {
  const node = [
    {
      name: 'x',
      op: 'Placeholder',
      attr: { dtype: { type: 'DT_INT32' }, shape: { shape: shapeOf([-1, 3]) } },
    },
    { name: 'negative', op: 'Neg', input: ['x'], attr: { T: { type: 'DT_INT32' } } },
  ];
  const path = write('graph-model', { node, versions: { producer: 1 } }, []);
  return { path, reference: (input) => Array.from(input, (value) => 0 - Math.trunc(value)) };
}

function layer(className: string, config: object): object {
  return { class_name: className, config };
}

function sequential(layers: object[]): object {
  return layer('Sequential', { name: 'model', layers });
}

function shapeOf(dims: number[]): object {
  return { dim: dims.map((size) => ({ size: String(size) })) };
}

interface Weight {
  name: string;
  shape: number[];
  values: Float32Array | Int32Array | Uint8Array | Uint16Array;
  dtype?: string;
  quantization?: object;
}

function write(format: string, modelTopology: object, weights: Weight[], more?: object): string {
  const path = temporaryFolder();
  const specs = weights.map(({ name, shape, dtype = 'float32', quantization }) => ({
    name,
    shape,
    dtype,
    quantization,
  }));
  const weightsManifest = [{ paths: ['weights.bin'], weights: specs }];
  writeFileSync(
    join(path, 'model.json'),
    JSON.stringify({ format, modelTopology, weightsManifest, ...more }),
  );
  const bytes = weights.map(({ values }) => Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  writeFileSync(join(path, 'weights.bin'), Buffer.concat(bytes));
  return path;
}

function product(input: ArrayLike<number>, matrix: Float32Array, columns: number): number[] {
  return Array.from({ length: columns }, (_, column) => {
    let sum = 0;
    for (let row = 0; row < input.length; row++) sum += at(input, row) * at(matrix, row * columns + column);
    return sum;
  });
}

function at(values: ArrayLike<number>, index: number): number {
  const value = values[index];
  if (value === undefined) throw new RangeError(`no value at ${index}`);
  return value;
}
