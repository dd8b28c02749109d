export {
  InferenceError,
  InferenceWorkerError,
  ModelFileError,
  ModelInputError,
  ModelNotReadyError,
  StateLimitError,
  StateLostError,
  UnsupportedModelError,
} from '../inference/errors.js';
export type {
  InferenceTimings,
  ModelStep,
  ModelStepResult,
  NamedModelResult,
} from '../inference/main/inference-model.js';
export type { InferenceMemory } from '../inference/main/inference-pool.js';
export type { ModelInput, NamedModelInput } from '../inference/main/model-input.js';
export { ModelState } from '../inference/main/model-state.js';
export type { ModelSelfTest } from '../inference/main/self-test.js';
export type { InputShape, StateTensors, TensorDescription } from '../inference/protocol/model-description.js';
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
