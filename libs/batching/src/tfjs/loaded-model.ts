import type * as Tfjs from '@tensorflow/tfjs';
import { UnsupportedModelError } from './errors.js';
import { readModelFiles } from './model-files.js';

/** A batch as it travels: all its inputs one after the other, each row-major. */
export type BatchValues = Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** What the main thread has to know of a model. */
export interface ModelDescription {
  /** Shape of one input, without the batch dimension. */
  inputShape: number[];
  /** Shape of one result, without the batch dimension. */
  outputShape: number[];
  /** What the model computes with; a batch of bytes becomes this in the worker. */
  inputType: 'float32' | 'int32';
}

type AnyModel = Tfjs.LayersModel | Tfjs.GraphModel;

/** One model in the memory of this thread's backend. Batches, of whatever model, must run one after the other. */
export class LoadedModel {
  readonly #tf: typeof Tfjs;
  readonly #model: AnyModel;
  readonly description: ModelDescription;
  /** A graph with control flow, which TensorFlow.js runs asynchronously only. */
  #dynamic = false;

  /** Loads the model and runs it once. Throws `ModelFileError` or `UnsupportedModelError`. */
  static async load(tf: typeof Tfjs, path: string): Promise<LoadedModel> {
    const { json, weightSpecs, weightData } = await readModelFiles(path);
    // How it was trained would bring an optimizer along, and fails for a loss that TensorFlow.js does not know.
    delete json.trainingConfig;
    const artifacts = await tf.io.getModelArtifactsForJSON(json, () =>
      Promise.resolve([weightSpecs, weightData]),
    );
    const handler = { load: () => Promise.resolve(artifacts) };
    const isGraph = json.format ? json.format === 'graph-model' : 'node' in json.modelTopology;
    let model: AnyModel | undefined;
    try {
      model = isGraph ? await tf.loadGraphModel(handler) : await tf.loadLayersModel(handler);
      const loaded = new LoadedModel(tf, model);
      await loaded.#probe();
      return loaded;
    } catch (cause) {
      model?.dispose();
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new UnsupportedModelError(`${path} cannot be used on ${tf.getBackend()}: ${why}`, { cause });
    }
  }

  private constructor(tf: typeof Tfjs, model: AnyModel) {
    this.#tf = tf;
    this.#model = model;
    this.description = { ...describeInput(model), outputShape: [] };
  }

  /**
   * Two zeros show at start-up what would else show with the first caller: an op that the backend lacks, an output that
   * is not one per input. They also tell the shape of the output, which a graph model need not say.
   */
  async #probe(): Promise<void> {
    const zeros = new Float32Array(
      2 * this.description.inputShape.reduce((product, dim) => product * dim, 1),
    );
    let outputShape: number[];
    try {
      ({ outputShape } = await this.#execute(zeros, 2));
    } catch (error) {
      // TensorFlow.js says so in words only, and warns when a graph without need is run asynchronously.
      if (!(error instanceof Error && error.message.includes('executeAsync'))) throw error;
      this.#dynamic = true;
      ({ outputShape } = await this.#execute(zeros, 2));
    }
    this.description.outputShape = outputShape;
  }

  /** Runs a batch of `size` inputs; gives all its results, one after the other, in a buffer of their own. */
  async run(batch: BatchValues, size: number): Promise<Float32Array<ArrayBuffer>> {
    const { values } = await this.#execute(batch, size);
    return values;
  }

  dispose(): void {
    this.#model.dispose();
  }

  async #execute(
    batch: BatchValues,
    size: number,
  ): Promise<{ values: Float32Array<ArrayBuffer>; outputShape: number[] }> {
    const { inputShape, inputType } = this.description;
    // The scope disposes of every tensor made in it, on every path. Unlike `tf.tidy` it may stay open across an await,
    // as long as batches run one after the other.
    this.#tf.engine().startScope();
    try {
      const output = await this.#predict(this.#tf.tensor(batch, [size, ...inputShape], inputType));
      const [first, ...outputShape] = output.shape;
      if (first !== size) {
        throw new Error(
          `${size} inputs gave an output of shape [${output.shape.join(', ')}], not one per input`,
        );
      }
      // Copied in any case: what `data` gives may be the backend's own memory.
      return { values: new Float32Array(await output.data<'float32'>()), outputShape };
    } finally {
      this.#tf.engine().endScope();
    }
  }

  #predict(input: Tfjs.Tensor): Tfjs.Tensor | Promise<Tfjs.Tensor> {
    const model = this.#model;
    // `predict` of a layers model would cut the batch into pieces of 32.
    if ('predictOnBatch' in model) return model.predictOnBatch(input) as Tfjs.Tensor;
    if (this.#dynamic) return model.executeAsync(input) as Promise<Tfjs.Tensor>;
    return model.execute(input) as Tfjs.Tensor;
  }
}

function describeInput({ inputs, outputs }: AnyModel): Pick<ModelDescription, 'inputShape' | 'inputType'> {
  const [input] = inputs;
  const [output] = outputs;
  if (inputs.length !== 1 || outputs.length !== 1 || !input || !output) {
    throw new Error(
      `it has inputs ${list(inputs)} and outputs ${list(outputs)}; only models with one of each can be used`,
    );
  }
  const [batch, ...inputShape] = input.shape ?? [];
  if (batch !== null && batch !== -1) {
    throw new Error(
      `input ${list([input])} needs an open batch dimension, so that a batch may have any size`,
    );
  }
  if (!inputShape.every((dim) => dim !== null && dim >= 0)) {
    throw new Error(`input ${list([input])} leaves more open than the batch dimension`);
  }
  if (input.dtype !== 'float32' && input.dtype !== 'int32') {
    throw new Error(`input ${list([input])} must be float32 or int32`);
  }
  return { inputShape: inputShape as number[], inputType: input.dtype };
}

function list(tensors: readonly { name: string; shape?: (number | null)[]; dtype: string }[]): string {
  return tensors
    .map(
      ({ name, shape, dtype }) => `'${name}' ${dtype}[${shape?.map((dim) => dim ?? -1).join(', ') ?? '?'}]`,
    )
    .join(', ');
}
