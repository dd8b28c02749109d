import { InferenceModel } from '../inference/main/inference-model.js';
import type { OnnxExecutionProvider } from './execution-provider.js';

/**
 * A loaded ONNX model. Get it with `@InjectOnnxModel(name)`; in a unit test, an object with a `predict` can
 * replace it.
 *
 * Tensors of other types than float32, int32 and bool are converted: float16 and float64 from and to
 * `Float32Array`, other integers from and to `Int32Array`. A batch with an integer that the tensor's type
 * cannot hold, or a result beyond 32 bits, rejects with `InferenceError`.
 */
export class OnnxModel extends InferenceModel {
  /** The execution provider that it runs on. */
  override get backend(): OnnxExecutionProvider {
    return super.backend as OnnxExecutionProvider;
  }
}
