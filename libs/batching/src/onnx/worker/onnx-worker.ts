import { runWorker } from '../../inference/worker/run-loop.js';
import type { OnnxExecutionProvider } from '../execution-provider.js';
import { OnnxRuntime } from './onnx-runtime.js';
import { startProvider } from './start-provider.js';

/** The inference worker of ONNX Runtime: the main file of its thread. */
await runWorker(
  async (provider) => new OnnxRuntime(await startProvider(provider as OnnxExecutionProvider | 'auto')),
);
