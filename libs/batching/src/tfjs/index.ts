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
  UnsupportedModelError,
} from '../inference/errors.js';
export type { InferenceTimings, NamedModelResult } from '../inference/main/inference-model.js';
export type { InferenceMemory } from '../inference/main/inference-pool.js';
export type { ModelInput, NamedModelInput } from '../inference/main/model-input.js';
export type { ModelSelfTest } from '../inference/main/self-test.js';
export type { InputShape, TensorDescription } from '../inference/protocol/model-description.js';
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
