export type { TfjsBackend } from './backend.js';
export type { ModelInput } from './batch-buffer.js';
export {
  InferenceError,
  InferenceWorkerError,
  ModelFileError,
  ModelInputError,
  TfjsBackendError,
  TfjsModuleError,
  UnsupportedModelError,
} from './errors.js';
export type { InferenceMemory } from './inference-worker.js';
export { TfjsModel } from './tfjs-model.js';
export {
  getModelToken,
  InjectModel,
  TfjsModule,
  type TfjsModelOptions,
  type TfjsModuleAsyncOptions,
  type TfjsModuleOptions,
} from './tfjs.module.js';
