import type { InferenceRuntime } from '../inference/main/inference-runtime.js';
import { workerFileAt } from '../inference/main/module-parts.js';
import { TfjsBackendError, TfjsModuleError } from './errors.js';
// Loads nothing, but makes the compiler emit the worker's file for an application that compiles the library's
// sources.
// eslint-disable-next-line no-restricted-imports -- a type: no code of the worker is loaded here
import type {} from './worker/tfjs-worker.js';

/** The main thread's part of TensorFlow.js. */
export const tfjsRuntime: InferenceRuntime = {
  module: 'TfjsModule',
  ModuleError: TfjsModuleError,
  workerErrors: { ERR_BATCHING_BACKEND: TfjsBackendError },
  workerFile: () => workerFileAt(import.meta.url, './worker/tfjs-worker.js', TfjsModuleError),
  pads: ({ gpu, backend }) => gpu || backend === 'webgpu',
  usesOneCore: ({ backend }) => backend === 'wasm' || backend === 'cpu',
};
