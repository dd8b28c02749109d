export {
  type BackendReport,
  type StartedBackend,
  startBackend,
  type TfjsBackend,
  tfjsBackends,
} from './backend.js';
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
export { TfjsBackendError, TfjsModuleError } from './errors.js';
export type { ModelModule } from './model-module.js';
export { TfjsModel } from './tfjs-model.js';
export {
  getTfjsModelToken,
  InjectTfjsModel,
  TfjsModule,
  type TfjsModelOptions,
  type TfjsModuleAsyncOptions,
  type TfjsModuleOptions,
} from './tfjs.module.js';
// eslint-disable-next-line @typescript-eslint/no-deprecated -- the former names
export { getModelToken, InjectModel } from './tfjs.module.js';
