import { MODEL_REPORT, type ModelReport } from '../../core/application.js';
import { invariant } from '../../core/invariant.js';
import { InferenceWorkerError, ModelInputError, StateLostError } from '../errors.js';
import { type BatchTensor, type TensorValues, tensorsOf } from '../protocol/batch-layout.js';
import { type TensorDescription, withoutState } from '../protocol/model-description.js';
import type { BatchPiece } from './batch-sizes.js';
import type { InferenceMemory, InferencePool, PlacedPiece, PlacedSteps } from './inference-pool.js';
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
import type { ModelState, ModelStates, StateRecord } from './model-state.js';
import type { PooledModel } from './pooled-model.js';

/**
 * One result of a model that returns several tensors, by their names, each in the type that the model
 * returns.
 */
export type NamedModelResult = Record<string, Float32Array | Int32Array | Uint8Array>;

/** One step of a stream whose state stays in an inference worker. */
export interface ModelStep<Input extends ModelInput | NamedModelInput = NamedModelInput> {
  /** The tensors besides the state. */
  readonly input: Input;
  readonly state: ModelState;
}

/** The result of one step. */
export interface ModelStepResult<Output extends Float32Array | NamedModelResult = NamedModelResult> {
  /** The tensors besides the state. */
  readonly output: Output;
  /** The state after the step. The one before is as it was, until it is disposed of. */
  readonly state: ModelState;
}

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
   * Opens the state of a stream, for a model with the option `state`. It takes up no memory of a worker before its first
   * step.
   *
   * @param initial its tensors by name. Default: zeros
   * @throws {StateLimitError} if there are `maxStates`
   * @throws {ModelInputError} for tensors that the model does not accept
   * @throws TypeError if the model has no option `state`
   */
  openState(initial?: NamedModelInput): ModelState {
    return this.#states.open(initial);
  }

  /** States that were opened, or returned by a step, and not disposed of. */
  get states(): number {
    return this.#model.states?.live ?? 0;
  }

  /**
   * Runs one step of each of several streams, as one batch; of several workers, each runs the steps whose states it
   * has. It is what a batch method of `createSession` does:
   *
   * ```ts
   * @BatchedService(64, 2)
   * hear(steps: readonly ModelStep[]) { return this.model.step(steps); }
   *
   * createSession(this.detector.hear, { initialState: () => this.model.openState() });
   * ```
   *
   * Inputs are given as those of `predict`, without the tensors of the state; so are the outputs.
   *
   * @returns one result per step, in their order. In place of one that failed is its error, and its state is as it was: a
   *   `ModelInputError`; a `StateLostError` if the worker that had its state died; a `StateLimitError` if states are
   *   not disposed of; or one of those of `predict`
   * @throws {ModelInputError} if the steps are not an array
   * @throws {ModelNotReadyError} while a restart of the worker refuses the model
   * @throws TypeError if the model has no option `state`
   */
  step(steps: readonly ModelStep<ModelInput>[]): Promise<(ModelStepResult<Float32Array> | Error)[]>;
  step(steps: readonly ModelStep[]): Promise<(ModelStepResult | Error)[]>;
  async step(
    steps: readonly ModelStep<ModelInput | NamedModelInput>[],
  ): Promise<(ModelStepResult<Float32Array | NamedModelResult> | Error)[]> {
    const start = performance.now();
    const { refusal } = this.#model;
    if (refusal) throw refusal;
    const checked = this.#checkSteps(steps);
    const good = checked.filter((step): step is CheckedStep => !(step instanceof Error));
    const results = new Map<CheckedStep, ModelStepResult<Float32Array | NamedModelResult> | Error>();
    const placed = this.#pool.planSteps(
      this.#model,
      good.map(({ record }) => record.worker),
    );
    this.#timings.fill += performance.now() - start;
    await Promise.all(
      placed.map(async (piece) => {
        const members = piece.steps.map((i) => good[i]).filter((step) => step !== undefined);
        const outcome = await this.#runSteps(piece, members);
        for (const [i, step] of members.entries()) {
          const result = outcome[i];
          if (result) results.set(step, result);
        }
      }),
    );
    return checked.map((step) => {
      if (step instanceof Error) return step;
      const result = results.get(step);
      invariant(result !== undefined, 'a step has no result');
      return result;
    });
  }

  get #states(): ModelStates {
    const { states } = this.#model;
    if (states) return states;
    throw new TypeError(
      `model '${this.name}' keeps no states: register it with the option state, such as { h: 'nextH' }`,
    );
  }

  #checkSteps(steps: unknown): (CheckedStep | Error)[] {
    const states = this.#states;
    const travelling = withoutState(this.#model.description);
    if (!Array.isArray(steps)) {
      throw new ModelInputError(this.name, undefined, undefined, 'must be an array of { input, state }');
    }
    return Array.from(steps, (step: Partial<ModelStep> | undefined, i) => {
      try {
        const tensors = checkInput(this.name, travelling, step?.input, i);
        const record = states.recordOf(step?.state, i);
        // The next thread will not have it either; steps in other workers need not wait until that is known.
        if (record.worker !== undefined && this.#pool.isStarting(record.worker)) {
          return this.#lost('its worker is being started again');
        }
        return { tensors, named: isNamed(step?.input), record };
      } catch (error) {
        if (error instanceof Error) return error;
        throw error;
      }
    });
  }

  /** @returns a result, or an error, for each step */
  async #runSteps(
    piece: PlacedSteps,
    steps: readonly CheckedStep[],
  ): Promise<(ModelStepResult<Float32Array | NamedModelResult> | Error)[]> {
    const start = performance.now();
    const states = this.#states;
    const travelling = withoutState(this.#model.description);
    const inputs = steps.map(({ tensors }) => tensors);
    const batch = this.#pool.memory.take(travelling, piece.size, bytesOnly(inputs, travelling.inputs));
    try {
      const shared = tensorsOf(batch, travelling);
      fillBatch(shared.inputs, inputs, piece.size);
      this.#timings.fill += performance.now() - start;
      const worker = piece.slot.index;
      const after = states.number(steps.length);
      const before = steps.map(({ record }) => record.before);
      const sent = { before, after, dropped: states.takeDropped(worker) };
      const ran = await this.#pool.predict(this.#model, piece, batch, sent);
      this.#count(piece, ran);
      const outputs = this.#split(
        shared.outputs,
        piece,
        steps.map(({ named }) => named),
      );
      return outputs.map((output, i) =>
        ran.lost.includes(i)
          ? this.#lost('its worker was started again, or has loaded other files')
          : { output, state: states.kept(worker, Number(after[i])) },
      );
    } catch (error) {
      return steps.map(({ record }) => this.#errorOf(error, record));
    } finally {
      this.#pool.memory.giveBack(batch);
    }
  }

  /** The worker's end is the end of a state that it had; a stream's first step may be repeated. */
  #errorOf(error: unknown, { worker }: StateRecord): Error {
    if (!(error instanceof InferenceWorkerError) || worker === undefined) return error as Error;
    return this.#lost(error.message, { cause: error });
  }

  #lost(why: string, options?: ErrorOptions): StateLostError {
    return new StateLostError(`model '${this.name}' has lost the state of a stream: ${why}`, options);
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
      return this.#split(
        shared.outputs,
        piece,
        Array.from({ length: piece.count }, () => named),
      );
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

  /**
   * @param named for each result, whether it is given by name
   *
   * Copies each result: a view that a caller keeps would keep the memory of the whole batch. */
  #split(
    outputs: readonly BatchTensor[],
    { size }: BatchPiece,
    named: readonly boolean[],
  ): (Float32Array | NamedModelResult)[] {
    const start = performance.now();
    const results = named.map((isNamed, i) => {
      const rows = outputs.map(({ values }) => row(values, i, size));
      if (isNamed)
        return Object.fromEntries(outputs.map(({ name }, k) => [name, rows[k]])) as NamedModelResult;
      const [values = new Float32Array()] = rows;
      return values instanceof Float32Array ? values : Float32Array.from(values);
    });
    this.#timings.split += performance.now() - start;
    return results;
  }
}

/** A step whose input and state are valid. */
interface CheckedStep {
  tensors: InputTensors;
  named: boolean;
  record: StateRecord;
}

function row(values: TensorValues, i: number, size: number): TensorValues {
  const length = values.length / size;
  return values.slice(i * length, (i + 1) * length);
}
