import type * as Tfjs from '@tensorflow/tfjs';
import type { StartedBackend } from '../../tfjs/backend.js';
import { type BatchTensor, type SharedBatch, type TensorValues, viewsOf } from '../protocol/batch-layout.js';
import { BatchingError } from '../../core/errors.js';
import { UnsupportedModelError } from '../errors.js';
import { ModelFiles } from '../../tfjs/worker/read-model-files.js';
import {
  type DeclaredTensor,
  type InputShape,
  loadNetwork,
  type ModelDescription,
  type Network,
  signatureOf,
  type TensorDescription,
} from '../../tfjs/worker/load-network.js';
import { nonFiniteIn } from '../main/self-test.js';

/** When the worker took a batch, in milliseconds since 1970, and how long each step then took. */
export interface WorkerSteps {
  started: number;
  upload: number;
  run: number;
  read: number;
}

export interface ModelLoad {
  path: string;
  inputShape?: InputShape | undefined;
  /** Takes note of all files that are read. */
  files?: ModelFiles;
  /** How many loads of this model there were in this thread before; default none. */
  attempt?: number;
}

/** One model in the memory of this thread's backend. Batches, of whatever model, must run one after the other. */
export class LoadedModel {
  readonly #tf: typeof Tfjs;
  readonly #network: Network;
  /** Per input, the memory in which bytes become the numbers that its tensor is made of. */
  readonly #widening = new Map<string, Widening>();
  readonly description: ModelDescription;
  /** What of the results of two zeros is no finite number, in words; `undefined` if all are. */
  readonly nonFinite: string | undefined;

  /**
   * Loads the model and runs two zeros: they show at start-up what would else show with the first caller: an op that the
   * backend lacks, an output that is not one per input, weights that are no numbers. They also show the shapes of the outputs,
   * which a model need not declare. Throws `ModelFileError` or `UnsupportedModelError`.
   */
  static async load(
    { tf, checked }: Pick<StartedBackend, 'tf' | 'checked'>,
    { path, inputShape, files = new ModelFiles(path), attempt = 0 }: ModelLoad,
  ): Promise<LoadedModel> {
    let network: Network | undefined;
    try {
      const loaded = (network = await checked(() => loadNetwork(tf, path, files, attempt)));
      checkNames(network.inputs, inputShape);
      const inputs = network.inputs.map((tensor) =>
        describe(tensor, network?.inputs.length === 1, inputShape),
      );
      const { outputs, nonFinite } = await checked(() => probe(tf, loaded, inputs));
      const signature = signatureOf(loaded.kind, { inputs, outputs });
      return new LoadedModel(tf, loaded, { inputs, outputs, signature }, nonFinite);
    } catch (cause) {
      network?.dispose();
      if (cause instanceof BatchingError) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new UnsupportedModelError(`${path} cannot be used on ${tf.getBackend()}: ${why}`, { cause });
    }
  }

  private constructor(
    tf: typeof Tfjs,
    network: Network,
    description: ModelDescription,
    nonFinite: string | undefined,
  ) {
    this.#tf = tf;
    this.#network = network;
    this.description = description;
    this.nonFinite = nonFinite;
  }

  /** Runs the batch: its results are in its memory when this resolves. */
  async run(batch: SharedBatch): Promise<WorkerSteps> {
    if (batch.signature !== this.description.signature) {
      throw new UnsupportedModelError(
        `a batch was made for the ${batch.signature}; the worker holds the ${this.description.signature}`,
      );
    }
    const { inputs, outputs } = viewsOf(batch, this.description);
    return inScope(this.#tf, async () => {
      const start = performance.now();
      const tensors = inputs.map((input) =>
        this.#tf.tensor(this.#numbersOf(input), [batch.size, ...input.shape], input.dtype),
      );
      const uploaded = performance.now();
      const results = await this.#network.run(tensors);
      const ran = performance.now();
      await Promise.all(
        outputs.map(async ({ name, shape, values }) => {
          const result = results[name];
          const expected = [batch.size, ...shape];
          if (result?.shape.join() !== expected.join()) {
            throw new Error(
              `${batch.size} inputs gave an output '${name}' of shape [${result?.shape.join(', ') ?? 'none'}], ` +
                `not [${expected.join(', ')}]`,
            );
          }
          values.set(await result.data());
        }),
      );
      return {
        started: performance.timeOrigin + start,
        upload: uploaded - start,
        run: ran - uploaded,
        read: performance.now() - ran,
      };
    });
  }

  dispose(): void {
    this.#network.dispose();
  }

  /**
   * What TensorFlow.js would do with bytes, but in memory that is used again, and not number by number, as V8 converts what
   * lies in shared memory.
   */
  #numbersOf({ name, dtype, values }: BatchTensor): TensorValues {
    if (!(values instanceof Uint8Array) || dtype === 'bool') return values;
    let widening = this.#widening.get(name);
    if (!widening || widening.bytes.length < values.length) {
      const numbers = dtype === 'int32' ? new Int32Array(values.length) : new Float32Array(values.length);
      widening = { bytes: new Uint8Array(values.length), numbers };
      this.#widening.set(name, widening);
    }
    const bytes = widening.bytes.subarray(0, values.length);
    bytes.set(values);
    const numbers = widening.numbers.subarray(0, values.length);
    numbers.set(bytes);
    return numbers;
  }
}

/** Both as long as the largest batch so far. */
interface Widening {
  bytes: Uint8Array;
  numbers: Int32Array | Float32Array;
}

/** Two, so that an output without a batch dimension is not taken for one with. */
const probeSize = 2;

async function probe(
  tf: typeof Tfjs,
  network: Network,
  inputs: readonly TensorDescription[],
): Promise<{ outputs: TensorDescription[]; nonFinite: string | undefined }> {
  return inScope(tf, async () => {
    const zeros = inputs.map(({ shape, dtype }) => tf.zeros([probeSize, ...shape], dtype));
    const results = Object.entries(await network.run(zeros));
    const outputs = await Promise.all(
      results.map(async ([name, result]) => {
        const [size, ...shape] = result.shape;
        if (size !== probeSize) {
          throw new Error(
            `${probeSize} inputs gave an output '${name}' of shape [${result.shape.join(', ')}], not one per input`,
          );
        }
        // Where the device works on its own, what went wrong shows when the results are read.
        const values = await result.data();
        return { name, shape, dtype: knownType(`output '${name}'`, result.dtype), values };
      }),
    );
    return {
      outputs: outputs.map(({ name, shape, dtype }) => ({ name, shape, dtype })),
      nonFinite: nonFiniteIn(outputs),
    };
  });
}

/**
 * Disposes of every tensor made in `work`, on every path. Unlike `tf.tidy` it may stay open across an await, as long as
 * batches run one after the other.
 */
async function inScope<T>(tf: typeof Tfjs, work: () => Promise<T>): Promise<T> {
  tf.engine().startScope();
  try {
    return await work();
  } finally {
    tf.engine().endScope();
  }
}

function describe(tensor: DeclaredTensor, only: boolean, given: InputShape | undefined): TensorDescription {
  const { name, shape: declared, dtype = 'float32' } = tensor;
  const what = `input '${name}' ${dtype}[${declared?.map((dim) => dim ?? -1).join(', ') ?? '?'}]`;
  if (!declared) throw new Error(`${what} does not say its shape`);
  const [batch, ...open] = declared;
  if (batch !== null && batch !== -1) {
    throw new Error(`${what} needs an open batch dimension, so that a batch may have any size`);
  }
  const fixed = shapeGiven(given, name, only);
  const shape = fixed ?? open;
  if (!isShape(shape) || !fits(open, shape)) {
    throw new Error(
      fixed === undefined
        ? `${what} leaves more open than the batch dimension: say its shape with the option inputShape`
        : `${what} cannot have the inputShape ${JSON.stringify(fixed)}`,
    );
  }
  return { name, shape, dtype: knownType(what, dtype) };
}

function shapeGiven(given: InputShape | undefined, name: string, only: boolean): unknown {
  if (!given || Array.isArray(given)) return only ? given : undefined;
  return (given as Readonly<Record<string, unknown>>)[name];
}

function isShape(shape: unknown): shape is readonly number[] {
  return Array.isArray(shape) && shape.every((dim) => Number.isSafeInteger(dim) && Number(dim) >= 0);
}

function fits(open: readonly (number | null)[], shape: readonly number[]): boolean {
  return (
    open.length === shape.length && open.every((dim, i) => dim === null || dim === -1 || dim === shape[i])
  );
}

/** A misspelt name would else leave the model's own shape, in silence. */
function checkNames(inputs: readonly DeclaredTensor[], given: InputShape | undefined): void {
  const names = inputs.map(({ name }) => `'${name}'`).join(', ');
  if (Array.isArray(given)) {
    if (inputs.length > 1) throw new Error(`inputShape must give a shape for each of ${names}`);
    return;
  }
  for (const name of Object.keys(given ?? {})) {
    if (!inputs.some((input) => input.name === name)) {
      throw new Error(`inputShape names '${name}', which is no input of the model; it has ${names}`);
    }
  }
}

function knownType(what: string, dtype: string): TensorDescription['dtype'] {
  if (dtype === 'float32' || dtype === 'int32' || dtype === 'bool') return dtype;
  throw new Error(`${what} must be float32, int32 or bool; it is ${dtype}`);
}
