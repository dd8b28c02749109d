import { existsSync } from 'node:fs';
import type { InferenceRuntime } from '../inference/main/inference-runtime.js';
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
  workerFile,
  pads: ({ gpu, backend }) => gpu || backend === 'webgpu',
  usesOneCore: ({ backend }) => backend === 'wasm' || backend === 'cpu',
};

function workerFile(): URL {
  const name = './worker/tfjs-worker.js';
  // In a bundle of CommonJS modules `import.meta.url` may be undefined, contrary to its type.
  const file = URL.canParse(name, import.meta.url) ? new URL(name, import.meta.url) : undefined;
  if (file && existsSync(file)) return file;
  throw new TfjsModuleError(
    `the inference worker has no file${file ? ` (${file.href})` : ''}: a bundler includes what is imported, which ` +
      'the worker is not; keep nest-batching external (webpack: externals, esbuild: --external:nest-batching)',
  );
}
