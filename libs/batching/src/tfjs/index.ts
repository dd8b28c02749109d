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
  TfjsBackendError,
  TfjsModuleError,
  UnsupportedModelError,
} from '../inference/errors.js';
export type { InferenceMemory } from '../inference/main/inference-worker.js';
export type { ModelInput, NamedModelInput } from '../inference/main/model-input.js';
export type { InputShape, ModelModule, TensorDescription } from './worker/load-network.js';
export type { ModelSelfTest } from '../inference/main/self-test.js';
export { type InferenceTimings, type NamedModelResult, TfjsModel } from './tfjs-model.js';
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
