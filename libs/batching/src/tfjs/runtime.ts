import { existsSync } from 'node:fs';
import type { InferenceRuntime } from '../inference/main/inference-runtime.js';
import { TfjsBackendError, TfjsModuleError } from './errors.js';
// Loads nothing. An application that compiles the library's sources along with its own emits only the files that are imported.
// eslint-disable-next-line no-restricted-imports -- a type: no code of the worker is loaded here
import type {} from './worker/tfjs-worker.js';

/** TensorFlow.js as the main thread sees it. */
export const tfjsRuntime: InferenceRuntime = {
  module: 'TfjsModule',
  ModuleError: TfjsModuleError,
  workerErrors: { ERR_BATCHING_BACKEND: TfjsBackendError },
  workerFile,
  pads: ({ gpu, backend }) => gpu || backend === 'webgpu',
};

function workerFile(): URL {
  const name = './worker/tfjs-worker.js';
  // A bundle of CommonJS modules may have no `import.meta.url`, whatever its type says.
  const file = URL.canParse(name, import.meta.url) ? new URL(name, import.meta.url) : undefined;
  if (file && existsSync(file)) return file;
  throw new TfjsModuleError(
    `the inference worker has no file${file ? ` (${file.href})` : ''}: a bundler takes along what is imported, and ` +
      'a worker is not; keep nest-batching external (webpack: externals, esbuild: --external:nest-batching)',
  );
}
