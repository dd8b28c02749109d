export {
  InferenceError,
  InferenceWorkerError,
  ModelFileError,
  ModelInputError,
  ModelNotReadyError,
  UnsupportedModelError,
} from '../inference/errors.js';
export type { InferenceTimings, NamedModelResult } from '../inference/main/inference-model.js';
export type { InferenceMemory } from '../inference/main/inference-pool.js';
export type { ModelInput, NamedModelInput } from '../inference/main/model-input.js';
export type { ModelSelfTest } from '../inference/main/self-test.js';
export type { InputShape, TensorDescription } from '../inference/protocol/model-description.js';
export { OnnxBackendError, OnnxModuleError } from './errors.js';
export { type OnnxExecutionProvider, onnxExecutionProviders } from './execution-provider.js';
export { OnnxModel } from './onnx-model.js';
export {
  getOnnxModelToken,
  InjectOnnxModel,
  OnnxModule,
  type OnnxModelOptions,
  type OnnxModuleAsyncOptions,
  type OnnxModuleOptions,
} from './onnx.module.js';
