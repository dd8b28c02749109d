import type { InferenceWorkerError } from '../errors.js';
import { type BatchTensor, type TensorValues, viewsOf } from '../protocol/batch-layout.js';
import type { TensorDescription } from '../protocol/model-description.js';
import type { BatchPiece } from './batch-sizes.js';
import type { BatchSteps, InferenceMemory, InferenceWorker } from './inference-worker.js';
import {
  bytesOnly,
  checkInput,
  checkInputs,
  fillBatch,
  isNamed,
  type ModelInput,
  type NamedModelInput,
} from './model-input.js';
import type { PreparedModel } from './registered-model.js';

/** One result of a model that returns several tensors, by their names, each in the type that the model returns. */
export type NamedModelResult = Record<string, Float32Array | Int32Array | Uint8Array>;

/**
 * What predictions have cost since the start: sums over all batches, in milliseconds. The steps in their order: fill, wait,
 * upload, run, read, answer, split.
 */
export interface InferenceTimings {
  /** Batches that the device ran, those for warming up not counted. */
  batches: number;
  /** Inputs in them, without those that only padded. */
  inputs: number;
  /** Checking the inputs and writing them into the shared memory; on the main thread. */
  fill: number;
  /** From then until the worker took the batch: the message to it, and the batches before this one. */
  wait: number;
  /** Making tensors of the inputs. */
  upload: number;
  /** Running the model. For a device that works asynchronously (webgpu) this is the submission; `read` waits for it. */
  run: number;
  /** Reading the results back. */
  read: number;
  /** The message with the answer, until the main thread reads it. */
  answer: number;
  /** Copying each result out of the shared memory; on the main thread. */
  split: number;
}

/** A loaded model: hands batches over to the inference worker and splits their results. */
export class InferenceModel {
  /** The name it was registered under. */
  readonly name: string;
  /** The tensors of one input, in the model's order, without the batch dimension. */
  readonly inputs: readonly TensorDescription[];
  /** The tensors of one result, in the model's order, without the batch dimension. */
  readonly outputs: readonly TensorDescription[];
  readonly #model: PreparedModel;
  readonly #worker: InferenceWorker;
  readonly #timings: InferenceTimings = {
    batches: 0,
    inputs: 0,
    fill: 0,
    wait: 0,
    upload: 0,
    run: 0,
    read: 0,
    answer: 0,
    split: 0,
  };

  constructor(worker: InferenceWorker, name: string, model: PreparedModel) {
    this.name = name;
    this.inputs = model.description.inputs;
    this.outputs = model.description.outputs;
    this.#model = model;
    this.#worker = worker;
  }

  /** Shape of one input, or of its first tensor, without the batch dimension: `[28, 28, 1]`. */
  get inputShape(): readonly number[] {
    return this.inputs[0]?.shape ?? [];
  }

  /** Shape of one result, or of its first tensor, without the batch dimension: `[10]`. */
  get outputShape(): readonly number[] {
    return this.outputs[0]?.shape ?? [];
  }

  /** The backend it runs on. */
  get backend(): string {
    return this.#worker.report.backend;
  }

  /** What does the arithmetic, in words: `GPU (TensorFlow 2.21.0)`, `CPU (WebAssembly with SIMD)`. */
  get device(): string {
    return this.#worker.report.device;
  }

  /**
   * Whether the worker runs, and this model is loaded, warmed up and tested: `false` while the worker is started again, and
   * while the model's files are not those of the model that the application started with.
   */
  get ready(): boolean {
    return this.#worker.ready && !this.#model.refusal;
  }

  /**
   * What predictions reject with while the worker is stuck in native code: it was silent beyond the heartbeat's limit and
   * cannot be ended; else `undefined`. The message names the model and the time. Only a restart of the process is a certain
   * remedy, so a liveness probe should fail on this. `ready` is `false` meanwhile. If the native code returns after all, the
   * worker is replaced.
   */
  get unresponsive(): InferenceWorkerError | undefined {
    return this.#worker.unresponsive;
  }

  /** What its predictions have cost so far, step by step. */
  get timings(): InferenceTimings {
    return { ...this.#timings };
  }

  /**
   * Checks one input as `predict` does. Called before the queue, it keeps an invalid input out of other callers' batches.
   *
   * @throws {ModelInputError} if `predict` would refuse this input
   * @throws {ModelNotReadyError} while a restart of the worker refuses the model
   */
  check(input: ModelInput | NamedModelInput): void {
    if (this.#model.refusal) throw this.#model.refusal;
    checkInput(this.name, this.#model.description, input, 0);
  }

  /**
   * Runs the inputs as one batch in the inference worker and returns one result per input, in their order: a flat, row-major
   * array of its own. The inputs are read before this returns, so their memory may be used again at once. No inputs return no
   * results. A batch is padded to the configured sizes (see the option `batchSizes`).
   *
   * Inputs given as arrays, for a model of one input and one output, return arrays of floats. Inputs given by the names of
   * their tensors, for any model, return results by name, in the model's own types.
   *
   * A tensor of integers takes numbers whose fractions can be cut off: no NaN, no Infinity, nothing beyond 32 bits. In a
   * tensor of bools every finite number but 0 is true.
   *
   * @throws {ModelInputError} for an input that `check` would refuse, or of another form than the first; nothing was run
   * @throws {ModelNotReadyError} while a restart of the worker refuses the model
   * @throws {InferenceError} if the model fails
   * @throws {InferenceWorkerError} if the worker dies meanwhile, is silent beyond its heartbeat's limit, or is down
   * @throws {ServiceStoppedError} after shutdown
   */
  predict(inputs: readonly ModelInput[]): Promise<Float32Array[]>;
  predict(inputs: readonly NamedModelInput[]): Promise<NamedModelResult[]>;
  async predict(
    inputs: readonly (ModelInput | NamedModelInput)[],
  ): Promise<(Float32Array | NamedModelResult)[]> {
    const start = performance.now();
    const { description, sizes, refusal } = this.#model;
    if (refusal) throw refusal;
    const tensors = checkInputs(this.name, description, inputs);
    if (inputs.length === 0) return [];
    const named = isNamed(inputs[0]);
    const asBytes = bytesOnly(tensors, description.inputs);
    const batches = sizes.cut(inputs.length).map((piece) => {
      const batch = this.#worker.memory.take(description, piece.size, asBytes);
      const views = viewsOf(batch, description);
      fillBatch(views.inputs, tensors.slice(piece.start, piece.start + piece.count), piece.size);
      return { batch, views, piece };
    });
    this.#timings.fill += performance.now() - start;
    const results = await Promise.all(
      batches.map(async ({ batch, views, piece }) => {
        try {
          this.#count(piece, await this.#worker.predict(this.name, batch));
          return this.#split(views.outputs, piece, named);
        } finally {
          this.#worker.memory.giveBack(batch);
        }
      }),
    );
    return results.flat();
  }

  /** What lives in the backend's memory, over all models of the application: the same between any two predictions. */
  memory(): Promise<InferenceMemory> {
    return this.#worker.usedMemory();
  }

  #count({ count }: BatchPiece, { wait, upload, run, read, answer }: BatchSteps): void {
    this.#timings.batches += 1;
    this.#timings.inputs += count;
    this.#timings.wait += wait;
    this.#timings.upload += upload;
    this.#timings.run += run;
    this.#timings.read += read;
    this.#timings.answer += answer;
  }

  /** Each result is a copy: a slice that a caller keeps would keep the memory of the whole batch. */
  #split(
    outputs: readonly BatchTensor[],
    { count, size }: BatchPiece,
    named: boolean,
  ): (Float32Array | NamedModelResult)[] {
    const start = performance.now();
    const results = Array.from({ length: count }, (_, i) => {
      const rows = outputs.map(({ values }) => row(values, i, size));
      if (named) return Object.fromEntries(outputs.map(({ name }, k) => [name, rows[k]])) as NamedModelResult;
      const [values = new Float32Array()] = rows;
      return values instanceof Float32Array ? values : Float32Array.from(values);
    });
    this.#timings.split += performance.now() - start;
    return results;
  }
}

function row(view: TensorValues, i: number, size: number): TensorValues {
  const length = view.length / size;
  return view.slice(i * length, (i + 1) * length);
}
