import type * as Tfjs from '@tensorflow/tfjs';
import type { TensorDescription } from '../inference/protocol/model-description.js';

/**
 * A model given as code: a JavaScript module with these exports runs in the inference worker, for example to prepare inputs
 * and finish results on the device. It may be ESM or CommonJS, and must be plain JavaScript that Node can import.
 *
 * ```js
 * export const inputs = { picture: { shape: [28, 28, 1], dtype: 'int32' } };
 * export const load = (tf, loadModel) => loadModel('./digits/model.json');
 * export const run = (tf, pictures, digits) => digits.predictOnBatch(tf.div(tf.cast(pictures, 'float32'), 255));
 * ```
 */
export interface ModelModule<State = unknown> {
  /**
   * The tensors of one input by name: shapes without the batch dimension, and types; default of `dtype`:
   * `float32`.
   */
  inputs: Readonly<
    Record<string, { readonly shape: readonly number[]; readonly dtype?: TensorDescription['dtype'] }>
  >;
  /**
   * Called once per start of the worker, with the TensorFlow.js of the backend; its result is passed to
   * `run`. `loadModel` loads a layers or graph model, by a path relative to the module.
   */
  load?: (tf: typeof Tfjs, loadModel: (path: string) => Promise<AnyModel>) => State | Promise<State>;
  /**
   * Runs one batch: gets a tensor if `inputs` has one entry, else the tensors by name; the first dimension is
   * the batch's. Returns one tensor, or tensors by name, with one result per input. All tensors created
   * meanwhile are disposed of.
   */
  run: (
    tf: typeof Tfjs,
    batch: never,
    state: State,
  ) => Tfjs.Tensor | Tfjs.NamedTensorMap | Promise<Tfjs.Tensor | Tfjs.NamedTensorMap>;
}

export type AnyModel = Tfjs.LayersModel | Tfjs.GraphModel;
