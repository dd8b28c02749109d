import { BatchingError } from '../../core/errors.js';
import { invariant } from '../../core/invariant.js';
import { messageOf, UnsupportedModelError } from '../errors.js';
import {
  type BatchTensor,
  lengthOf,
  nonFiniteIn,
  type SharedBatch,
  type TensorValues,
  tensorsOf,
} from '../protocol/batch-layout.js';
import type { BatchStates } from '../protocol/batch-states.js';
import type { WorkerSteps } from '../protocol/messages.js';
import {
  type InputShape,
  type ModelDescription,
  signatureOf,
  type StateTensors,
  type TensorDescription,
  withoutState,
} from '../protocol/model-description.js';
import { checkState, KeptStates } from './kept-states.js';
import { ModelFiles } from './model-files.js';
import type { DeclaredTensor, Network, Runtime, RuntimeTensor } from './runtime.js';

export interface ModelLoad {
  path: string;
  inputShape?: InputShape | undefined;
  state?: StateTensors | undefined;
  /** Records the files that are read. */
  files?: ModelFiles;
  /** Number of earlier loads of this model in this thread. Default 0. */
  attempt?: number;
}

/** A model on this thread's backend. Batches must run one at a time, also those of different models. */
export class LoadedModel<Tensor extends RuntimeTensor> {
  readonly #runtime: Runtime<Tensor>;
  readonly #network: Network<Tensor>;
  /** For each input tensor, memory for converting bytes to the tensor's type. */
  readonly #widening = new Map<string, Widening>();
  readonly description: ModelDescription;
  /** The states of its streams. */
  readonly states: KeptStates;
  /** Describes the first number that is not finite in the results of zeros; `undefined` if all are finite. */
  readonly nonFinite: string | undefined;

  /**
   * Loads the model and runs a batch of two inputs of zeros. So problems appear at start-up instead of with
   * the first caller: an op that the backend lacks, an output that is not one per input, weights that are
   * NaN. It also yields the shapes of the outputs, which a model need not declare.
   *
   * @throws {ModelFileError | UnsupportedModelError}
   */
  static async load<Tensor extends RuntimeTensor>(
    runtime: Runtime<Tensor>,
    { path, inputShape, state, files = new ModelFiles(path), attempt = 0 }: ModelLoad,
  ): Promise<LoadedModel<Tensor>> {
    let network: Network<Tensor> | undefined;
    try {
      const loaded = (network = await runtime.checked(() => runtime.load(path, files, attempt)));
      checkNames(loaded.inputs, inputShape);
      const inputs = loaded.inputs.map((tensor) => describe(tensor, loaded.inputs.length === 1, inputShape));
      const { outputs, nonFinite } = await runtime.checked(() => probe(runtime, loaded, inputs));
      const signature = signatureOf(loaded.kind, { inputs, outputs });
      const description = { inputs, outputs, ...(state && { state }), signature };
      if (state) checkState(description);
      return new LoadedModel(runtime, loaded, description, nonFinite);
    } catch (cause) {
      network?.dispose();
      if (cause instanceof BatchingError) throw cause;
      throw new UnsupportedModelError(
        `${path} cannot be used on ${runtime.report.backend}: ${messageOf(cause)}`,
        { cause },
      );
    }
  }

  private constructor(
    runtime: Runtime<Tensor>,
    network: Network<Tensor>,
    description: ModelDescription,
    nonFinite: string | undefined,
  ) {
    this.#runtime = runtime;
    this.#network = network;
    this.description = description;
    this.states = new KeptStates(description);
    this.nonFinite = nonFinite;
  }

  /**
   * Runs the batch. When this resolves, the results are in its memory, and the next states are kept; when it
   * rejects, no state has changed.
   */
  async run(batch: SharedBatch, states?: BatchStates): Promise<WorkerSteps> {
    if (batch.signature !== this.description.signature) {
      throw new UnsupportedModelError(
        `the batch is for the ${batch.signature}; the worker has the ${this.description.signature}`,
      );
    }
    const sent = tensorsOf(batch, states ? withoutState(this.description) : this.description);
    const lost = states ? this.states.lost(states) : [];
    const kept = states && this.states.gather(states, batch.size);
    return this.#runtime.inScope(async () => {
      const start = performance.now();
      const tensors = this.description.inputs.map(({ name, shape, dtype }) => {
        const values = kept?.get(name) ?? this.#numbersOf(sent.inputs.find((input) => input.name === name));
        return this.#runtime.tensor(values, [batch.size, ...shape], dtype);
      });
      const uploaded = performance.now();
      const results = await this.#network.run(tensors);
      const ran = performance.now();
      const next = new Map<string, TensorValues>();
      await Promise.all(
        this.description.outputs.map(async ({ name, shape }) => {
          const result = results[name];
          const expected = [batch.size, ...shape];
          if (result?.shape.join() !== expected.join()) {
            throw new Error(
              `${batch.size} inputs gave an output '${name}' of shape [${result?.shape.join(', ') ?? 'none'}], ` +
                `not [${expected.join(', ')}]`,
            );
          }
          const values = await result.data();
          const output = sent.outputs.find((output) => output.name === name);
          if (output) output.values.set(values);
          else next.set(name, values);
        }),
      );
      if (states) {
        this.states.keep(states, lost, (output) => {
          const values = next.get(output);
          invariant(values !== undefined, 'an output that is a state was not read');
          return values;
        });
      }
      return {
        started: performance.timeOrigin + start,
        upload: uploaded - start,
        run: ran - uploaded,
        read: performance.now() - ran,
        lost,
      };
    });
  }

  dispose(): void {
    this.#network.dispose();
  }

  /**
   * Converts bytes to the tensor's type, in memory that is reused. They are copied first, because V8 is slow
   * at converting shared memory.
   */
  #numbersOf(tensor: BatchTensor | undefined): TensorValues {
    invariant(tensor !== undefined, 'an input is neither sent nor a state');
    const { name, dtype, values } = tensor;
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

/** Both arrays have the length of the largest batch so far. */
interface Widening {
  bytes: Uint8Array;
  numbers: Int32Array | Float32Array;
}

/**
 * Inputs in the batch of zeros: two, to detect outputs without a batch dimension, whose first dimension may
 * be 1.
 */
const PROBE_SIZE = 2;

async function probe<Tensor extends RuntimeTensor>(
  runtime: Runtime<Tensor>,
  network: Network<Tensor>,
  inputs: readonly TensorDescription[],
): Promise<{ outputs: TensorDescription[]; nonFinite: string | undefined }> {
  return runtime.inScope(async () => {
    const zeros = inputs.map((input) =>
      runtime.tensor(zerosFor(input), [PROBE_SIZE, ...input.shape], input.dtype),
    );
    const results = Object.entries(await network.run(zeros));
    const outputs = await Promise.all(
      results.map(async ([name, result]) => {
        const [size, ...shape] = result.shape;
        if (size !== PROBE_SIZE) {
          throw new Error(
            `${PROBE_SIZE} inputs gave an output '${name}' of shape [${result.shape.join(', ')}], not one per input`,
          );
        }
        // On an asynchronous device, failures appear when the results are read.
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

function zerosFor(tensor: TensorDescription): TensorValues {
  const length = PROBE_SIZE * lengthOf(tensor);
  if (tensor.dtype === 'bool') return new Uint8Array(length);
  return tensor.dtype === 'int32' ? new Int32Array(length) : new Float32Array(length);
}

function describe(tensor: DeclaredTensor, only: boolean, given: InputShape | undefined): TensorDescription {
  const { name, shape: declared, dtype = 'float32' } = tensor;
  const what = `input '${name}' ${dtype}[${declared?.map((dim) => dim ?? -1).join(', ') ?? '?'}]`;
  if (!declared) throw new Error(`${what} has no shape`);
  const [batch, ...open] = declared;
  if (batch !== null && batch !== -1) {
    throw new Error(`${what} needs an open batch dimension, so that a batch may have any size`);
  }
  const fixed = shapeGiven(given, name, only);
  const shape = fixed ?? open;
  if (!isShape(shape) || !fits(open, shape)) {
    throw new Error(
      fixed === undefined
        ? `${what} leaves more open than the batch dimension: give its shape by the option inputShape`
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

/** Without this check a misspelt name would be ignored. */
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
