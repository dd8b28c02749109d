import type * as Tfjs from '@tensorflow/tfjs';
import type { TensorDescription } from '../inference/protocol/model-description.js';

/**
 * Own code in the inference worker: a module with these exports can be given as a model, to prepare inputs and finish
 * results on the device. It may be ESM or CommonJS, plain JavaScript that Node can import.
 *
 * ```js
 * export const inputs = { picture: { shape: [28, 28, 1], dtype: 'int32' } };
 * export const load = (tf, loadModel) => loadModel('./digits/model.json');
 * export const run = (tf, pictures, digits) => digits.predictOnBatch(tf.div(tf.cast(pictures, 'float32'), 255));
 * ```
 */
export interface ModelModule<State = unknown> {
  /** The tensors of one input by name: their shapes without the batch dimension; `dtype` is `float32` if not given. */
  inputs: Readonly<
    Record<string, { readonly shape: readonly number[]; readonly dtype?: TensorDescription['dtype'] }>
  >;
  /**
   * Called once per start of the worker, with the TensorFlow.js of the backend; its result is passed to `run`. `loadModel`
   * loads a layers or graph model, its path relative to the module.
   */
  load?: (tf: typeof Tfjs, loadModel: (path: string) => Promise<AnyModel>) => State | Promise<State>;
  /**
   * Runs one batch: a tensor where `inputs` has one entry, else the tensors by name; each has the batch dimension first.
   * Returns one tensor, or tensors by name, with one result per input. All tensors made meanwhile are disposed of.
   */
  run: (
    tf: typeof Tfjs,
    batch: never,
    state: State,
  ) => Tfjs.Tensor | Tfjs.NamedTensorMap | Promise<Tfjs.Tensor | Tfjs.NamedTensorMap>;
}

export type AnyModel = Tfjs.LayersModel | Tfjs.GraphModel;
