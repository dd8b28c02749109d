import type { TfjsBackend } from './backend.js';
import { type BatchTensor, type TensorValues, viewsOf } from '../inference/protocol/batch-layout.js';
import type { BatchPiece } from '../inference/main/batch-sizes.js';
import type { InferenceWorkerError } from '../inference/errors.js';
import type {
  BatchSteps,
  InferenceLane,
  InferenceMemory,
  PreparedModel,
} from '../inference/main/inference-worker.js';
import {
  bytesOnly,
  checkInput,
  checkInputs,
  fillBatch,
  isNamed,
  type ModelInput,
  type NamedModelInput,
} from '../inference/main/model-input.js';
import type { TensorDescription } from './worker/load-network.js';

/** One result of a model that gives several tensors, by their names, each in the type that the model gives. */
export type NamedModelResult = Record<string, Float32Array | Int32Array | Uint8Array>;

/**
 * What predictions have cost since the start: sums over all batches, in milliseconds. An input's way is fill, wait, upload,
 * run, read, answer, split.
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
  /** Running the model. A device that works on its own (webgpu) is only told to, and `read` waits for it. */
  run: number;
  /** Reading the results back. */
  read: number;
  /** The message with the answer, until the main thread has time for it. */
  answer: number;
  /** Copying each result out of the shared memory; on the main thread. */
  split: number;
}

/** A loaded model. Get it with `@InjectTfjsModel(name)`; in a unit test anything with a `predict` takes its place. */
export class TfjsModel {
  /** The name it was registered under. */
  readonly name: string;
  /** The tensors of one input, in the model's order, without the batch dimension. */
  readonly inputs: readonly TensorDescription[];
  /** The tensors of one result, in the model's order, without the batch dimension. */
  readonly outputs: readonly TensorDescription[];
  readonly #model: PreparedModel;
  readonly #lane: InferenceLane;
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

  /** What `TfjsModule.forFeature` calls. */
  constructor(lane: InferenceLane, name: string, model: PreparedModel) {
    this.name = name;
    this.inputs = model.description.inputs;
    this.outputs = model.description.outputs;
    this.#model = model;
    this.#lane = lane;
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
  get backend(): TfjsBackend {
    return this.#lane.report.backend;
  }

  /** What does the arithmetic, in words: `GPU (TensorFlow 2.21.0)`, `CPU (WebAssembly with SIMD)`. */
  get device(): string {
    return this.#lane.report.device;
  }

  /**
   * Whether the worker is up, and this model loaded, warmed up and tested: `false` while the worker is started again, and
   * while a restart has found that the model's files are not those of the model that the application started with.
   */
  get ready(): boolean {
    return this.#lane.ready && !this.#model.refusal;
  }

  /**
   * What predictions reject with while the worker is stuck in native code: silent beyond the heartbeat's limit, and not to be
   * ended; else `undefined`. The message names the model and the time. Only a restart of the process helps for sure, so a
   * liveness probe should fail on this. `ready` is `false` meanwhile. Should the native code return after all, the worker is
   * replaced.
   */
  get unresponsive(): InferenceWorkerError | undefined {
    return this.#lane.unresponsive;
  }

  /** What its predictions have cost so far, step by step. */
  get timings(): InferenceTimings {
    return { ...this.#timings };
  }

  /**
   * Throws `ModelInputError` unless `predict` would take this input. Called before the queue it refuses an input at once, and
   * keeps it out of the batch of other callers. Throws `ModelNotReadyError` while a restart of the worker refuses the model.
   */
  check(input: ModelInput | NamedModelInput): void {
    if (this.#model.refusal) throw this.#model.refusal;
    checkInput(this.name, this.#model.description, input, 0);
  }

  /**
   * Runs the inputs as one batch in the inference worker and gives one result per input, in their order: a flat, row-major
   * array of its own. The inputs are read before this returns, so their memory may be used again at once. No inputs give no
   * results. A batch is padded to the sizes that were configured (see `TfjsModelOptions.batchSizes`).
   *
   * Inputs given as arrays, for a model of one input and one output, give arrays of floats. Inputs given by the names of
   * their tensors, for any model, give results by name, in the model's own types.
   *
   * A tensor of integers takes numbers whose fractions can be cut off: no NaN, no Infinity, nothing beyond 32 bits. In a
   * tensor of bools every finite number but 0 is true.
   *
   * Rejects with `ModelInputError` for an input that `check` would refuse, or of another form than the first (nothing was
   * run), `InferenceError` when the model fails, `InferenceWorkerError` when the worker dies under it, is silent beyond its
   * heartbeat's limit, or is down, `ModelNotReadyError` while a restart of the worker refuses the model,
   * `ServiceStoppedError` after shutdown.
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
      const batch = this.#lane.memory.take(description, piece.size, asBytes);
      const views = viewsOf(batch, description);
      fillBatch(views.inputs, tensors.slice(piece.start, piece.start + piece.count), piece.size);
      return { batch, views, piece };
    });
    this.#timings.fill += performance.now() - start;
    const results = await Promise.all(
      batches.map(async ({ batch, views, piece }) => {
        try {
          this.#count(piece, await this.#lane.predict(this.name, batch));
          return this.#split(views.outputs, piece, named);
        } finally {
          this.#lane.memory.giveBack(batch);
        }
      }),
    );
    return results.flat();
  }

  /** What lives in the backend's memory, over all models of the application: the same between any two predictions. */
  memory(): Promise<InferenceMemory> {
    return this.#lane.usedMemory();
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

  /** Each result is a copy, so that one which is kept does not keep the memory of a whole batch. */
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
