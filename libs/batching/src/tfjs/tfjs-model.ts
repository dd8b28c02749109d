import { fillBatch, type ModelInput, splitResults } from './batch-buffer.js';
import type { TfjsBackend } from './backend.js';
import { ModelInputError } from './errors.js';
import type { InferenceLane } from './inference-lane.js';
import type { InferenceMemory } from './inference-worker.js';
import type { ModelDescription } from './loaded-model.js';

/** A loaded model. Get it with `@InjectModel(name)`; in a unit test anything with a `predict` takes its place. */
export class TfjsModel {
  /** The name it was registered under. */
  readonly name: string;
  /** Shape of one input, without the batch dimension: `[28, 28, 1]`. */
  readonly inputShape: readonly number[];
  /** Shape of one result, without the batch dimension: `[10]`. */
  readonly outputShape: readonly number[];
  readonly #inputType: ModelDescription['inputType'];
  readonly #lane: InferenceLane;

  /** What `TfjsModule.forFeature` calls. */
  static async load(lane: InferenceLane, name: string, path: string): Promise<TfjsModel> {
    return new TfjsModel(lane, name, await lane.load(name, path));
  }

  private constructor(
    lane: InferenceLane,
    name: string,
    { inputShape, outputShape, inputType }: ModelDescription,
  ) {
    this.name = name;
    this.inputShape = inputShape;
    this.outputShape = outputShape;
    this.#inputType = inputType;
    this.#lane = lane;
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
   * Runs the inputs as one batch in the inference worker and gives one result per input, in their order: `outputShape` as a
   * flat, row-major array of its own. The inputs are read before this returns, so their memory may be used again at once.
   * No inputs give no results.
   *
   * What is no number counts as NaN, and NaN makes NaN of the result it belongs to; no other result of the batch notices.
   * A model of integers takes integers: fractions are cut off, and NaN is 0.
   *
   * Rejects with `ModelInputError` for an input of the wrong length (nothing was run), `InferenceError` when the model
   * fails, `InferenceWorkerError` when the worker dies under it or is down, `ServiceStoppedError` after shutdown.
   */
  async predict(inputs: readonly ModelInput[]): Promise<Float32Array[]> {
    if (inputs.length === 0) return [];
    const length = this.inputShape.reduce((product, dim) => product * dim, 1);
    inputs.forEach((input: ModelInput | undefined, index) => {
      if (input?.length !== length) {
        throw new ModelInputError(this.name, index, this.inputShape, length, input?.length);
      }
    });
    const batch = fillBatch(inputs, length, this.#inputType);
    const results = await this.#lane.predict(this.name, batch, inputs.length);
    return splitResults(results, inputs.length);
  }

  /** What lives in the backend's memory, over all models of the application: the same between any two predictions. */
  memory(): Promise<InferenceMemory> {
    return this.#lane.memory();
  }
}
