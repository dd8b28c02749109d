import { MODEL_REPORT, type ModelReport } from '../../core/application.js';
import { invariant } from '../../core/invariant.js';
import type { InferenceWorkerError } from '../errors.js';
import { type BatchTensor, type TensorValues, tensorsOf } from '../protocol/batch-layout.js';
import type { TensorDescription } from '../protocol/model-description.js';
import type { BatchPiece } from './batch-sizes.js';
import type { InferenceMemory, InferencePool, PlacedPiece } from './inference-pool.js';
import type { BatchSteps } from './inference-worker.js';
import {
  bytesOnly,
  checkInput,
  checkInputs,
  fillBatch,
  type InputTensors,
  isNamed,
  type ModelInput,
  type NamedModelInput,
} from './model-input.js';
import type { PooledModel } from './pooled-model.js';

/**
 * One result of a model that returns several tensors, by their names, each in the type that the model
 * returns.
 */
export type NamedModelResult = Record<string, Float32Array | Int32Array | Uint8Array>;

/**
 * Time that predictions have taken since the start of the application, by step, in the order of the steps:
 * sums over all batches, in milliseconds.
 */
export interface InferenceTimings {
  /** Batches that ran, warm-up excluded. */
  batches: number;
  /** Inputs in these batches, padding excluded. */
  inputs: number;
  /** Checking the inputs and writing them into the shared memory; on the main thread. */
  fill: number;
  /** After that, until the worker took the batch: the message to it, and earlier batches. */
  wait: number;
  /** Creating tensors from the inputs. */
  upload: number;
  /**
   * Running the model. On an asynchronous device (webgpu) only submitting the work; `read` then waits for its
   * end.
   */
  run: number;
  /** Reading the results back. */
  read: number;
  /** From the end of `read` until the main thread gets the worker's answer. */
  answer: number;
  /** Copying each result out of the shared memory; on the main thread. */
  split: number;
}

/** A loaded model: passes batches to the inference workers and splits their results. */
export class InferenceModel {
  /** The name it was registered under. */
  readonly name: string;
  /** The tensors of one input, in the model's order, without the batch dimension. */
  readonly inputs: readonly TensorDescription[];
  /** The tensors of one result, in the model's order, without the batch dimension. */
  readonly outputs: readonly TensorDescription[];
  readonly #model: PooledModel;
  readonly #pool: InferencePool;
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

  constructor(pool: InferencePool, name: string, model: PooledModel) {
    this.name = name;
    this.inputs = model.description.inputs;
    this.outputs = model.description.outputs;
    this.#model = model;
    this.#pool = pool;
  }

  /** Shape of one input, or of its first tensor, without the batch dimension: `[28, 28, 1]`. */
  get inputShape(): readonly number[] {
    const [first] = this.inputs;
    invariant(first !== undefined, 'a model has no input tensor');
    return first.shape;
  }

  /** Shape of one result, or of its first tensor, without the batch dimension: `[10]`. */
  get outputShape(): readonly number[] {
    const [first] = this.outputs;
    invariant(first !== undefined, 'a model has no output tensor');
    return first.shape;
  }

  /** Name of the backend that it runs on. */
  get backend(): string {
    return this.#pool.report.backend;
  }

  /** Description of the device: `GPU (TensorFlow 2.21.0)`, `CPU (WebAssembly with SIMD)`. */
  get device(): string {
    return this.#pool.report.device;
  }

  /** Number of inference workers that have it. */
  get workers(): number {
    return this.#pool.size;
  }

  /**
   * Whether a worker runs, with this model loaded, warmed up and tested. `false` while all workers restart,
   * and while predictions are refused with a `ModelNotReadyError`.
   */
  get ready(): boolean {
    return this.#pool.isReady(this.#model);
  }

  /**
   * The error of all predictions while all workers are stuck in native code: they were silent beyond the
   * heartbeat's limit and cannot be ended. Otherwise `undefined`. `ready` is `false` meanwhile. Only a
   * restart of the process is sure to help, so a liveness probe should fail on this. If the native code
   * returns after all, the worker is replaced.
   */
  get unresponsive(): InferenceWorkerError | undefined {
    return this.#pool.unresponsive;
  }

  /** Times that inference workers were started again, which all models of the application share. */
  get restarts(): number {
    return this.#pool.restarts;
  }

  /** Time that its predictions have taken so far, by step. */
  get timings(): InferenceTimings {
    return { ...this.#timings };
  }

  /** @internal For metrics and health checks. */
  get [MODEL_REPORT](): ModelReport {
    const { batches, inputs, ...steps } = this.#timings;
    return {
      name: this.name,
      runtime: this.#pool.module,
      problem: this.#problem,
      batches,
      inputs,
      steps,
      restarts: this.restarts,
      memory: () => this.memory(),
    };
  }

  get #problem(): string | undefined {
    if (this.unresponsive) return this.unresponsive.message;
    if (this.ready) return undefined;
    return (
      this.#model.refusal?.message ??
      `model '${this.name}' is being loaded and warmed up, or was refused; the log says which`
    );
  }

  /**
   * Checks one input as `predict` does. Call it before the queue, to keep an invalid input out of other
   * callers' batches.
   *
   * @throws {ModelInputError} if `predict` would refuse this input
   * @throws {ModelNotReadyError} while a restart of the worker refuses the model
   */
  check(input: ModelInput | NamedModelInput): void {
    if (this.#model.refusal) throw this.#model.refusal;
    checkInput(this.name, this.#model.description, input, 0);
  }

  /**
   * Runs the inputs as one batch in the inference worker with the least work, or split over idle workers if
   * that is faster. The batch is padded to the configured sizes (option
   * `batchSizes`). The inputs are read before this returns, so their memory may be used again at once.
   *
   * Inputs given as arrays, for a model with one input tensor and one output tensor, have arrays of floats as
   * results. Inputs given by the names of their tensors, for any model, have results by name, in the model's
   * own types.
   *
   * In a tensor of integers, fractions are cut off; NaN, Infinity and numbers beyond 32 bits are refused. In
   * a tensor of bools every finite number but 0 is true.
   *
   * @returns one result per input, in their order, each in flat row-major arrays of its own; `[]` for no
   *   inputs
   *
   * @throws {ModelInputError} for an input that `check` refuses, or of another form than the first; nothing
   *   is run
   * @throws {ModelNotReadyError} while a restart of the worker refuses the model
   * @throws {InferenceError} if the model fails
   * @throws {InferenceWorkerError} if a worker that runs a part of it dies meanwhile, is silent beyond the heartbeat's limit, or
   *   is down
   * @throws {ServiceStoppedError} after shutdown
   */
  predict(inputs: readonly ModelInput[]): Promise<Float32Array[]>;
  predict(inputs: readonly NamedModelInput[]): Promise<NamedModelResult[]>;
  async predict(
    inputs: readonly (ModelInput | NamedModelInput)[],
  ): Promise<(Float32Array | NamedModelResult)[]> {
    const start = performance.now();
    const { description, refusal } = this.#model;
    if (refusal) throw refusal;
    const tensors = checkInputs(this.name, description, inputs);
    if (inputs.length === 0) return [];
    const named = isNamed(inputs[0]);
    const asBytes = bytesOnly(tensors, description.inputs);
    const { pieces, done } = this.#pool.plan(this.#model, inputs.length);
    this.#timings.fill += performance.now() - start;
    // Each piece is on its way before the next is filled.
    const results = await Promise.all(
      pieces.map((piece) =>
        this.#run(piece, tensors.slice(piece.start, piece.start + piece.count), { asBytes, named }),
      ),
    );
    done?.();
    return results.flat();
  }

  /**
   * @returns the memory in use by all models of the application, in all workers; constant from one prediction to the next
   * @throws {InferenceWorkerError} if the worker is down or dies
   */
  memory(): Promise<InferenceMemory> {
    return this.#pool.usedMemory();
  }

  /** Fills and posts a piece of a batch before it returns. */
  async #run(
    piece: PlacedPiece,
    inputs: readonly InputTensors[],
    { asBytes, named }: { asBytes: readonly boolean[]; named: boolean },
  ): Promise<(Float32Array | NamedModelResult)[]> {
    const start = performance.now();
    const { description } = this.#model;
    const batch = this.#pool.memory.take(description, piece.size, asBytes);
    try {
      const shared = tensorsOf(batch, description);
      fillBatch(shared.inputs, inputs, piece.size);
      this.#timings.fill += performance.now() - start;
      this.#count(piece, await this.#pool.predict(this.#model, piece, batch));
      return this.#split(shared.outputs, piece, named);
    } finally {
      this.#pool.memory.giveBack(batch);
    }
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

  /** Copies each result: a view that a caller keeps would keep the memory of the whole batch. */
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

function row(values: TensorValues, i: number, size: number): TensorValues {
  const length = values.length / size;
  return values.slice(i * length, (i + 1) * length);
}
