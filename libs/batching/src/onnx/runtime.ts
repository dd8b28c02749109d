import type { InferenceRuntime } from '../inference/main/inference-runtime.js';
import { workerFileAt } from '../inference/main/module-parts.js';
import { OnnxBackendError, OnnxModuleError } from './errors.js';
// Loads nothing, but makes the compiler emit the worker's file for an application that compiles the library's
// sources.
// eslint-disable-next-line no-restricted-imports -- a type: no code of the worker is loaded here
import type {} from './worker/onnx-worker.js';

/** The main thread's part of ONNX Runtime. */
export const onnxRuntime: InferenceRuntime = {
  module: 'OnnxModule',
  ModuleError: OnnxModuleError,
  workerErrors: { ERR_BATCHING_BACKEND: OnnxBackendError },
  workerFile: () => workerFileAt(import.meta.url, './worker/onnx-worker.js', OnnxModuleError),
  pads: ({ backend }) => backend !== 'cpu',
  usesOneCore: ({ backend }) => backend === 'cpu',
};
