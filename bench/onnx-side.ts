import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import {
  getOnnxModelToken,
  OnnxBackendError,
  type OnnxExecutionProvider,
  type OnnxModel,
  OnnxModule,
} from 'nest-batching/onnx';
import type * as Started from '../libs/batching/src/onnx/worker/start-provider.js';
import type * as Runtime from '../libs/batching/src/onnx/worker/onnx-runtime.js';
import { writeMlp } from './onnx-mlp.js';
import { built, type Loops, type RuntimeSide, type Subject } from './runtime-side.js';

/** ONNX Runtime on one execution provider. */
export function onnxSide(executionProvider: OnnxExecutionProvider, digits: string): RuntimeSide {
  return {
    BackendError: OnnxBackendError,
    paths: { digits: join(digits, 'digits.onnx'), mlp: writeMlp },
    root: (workers) => OnnxModule.forRoot({ executionProvider, workers }),
    feature: (models) => OnnxModule.forFeature(models),
    tokenOf: getOnnxModelToken,
    loops: async (app, subject) => {
      const { workers } = app.get<OnnxModel>(getOnnxModelToken('subject'), { strict: false });
      return startLoops(executionProvider, subject, workers);
    },
    onMainThread: async () => {
      const { startProvider } = (await import(built('onnx/worker/start-provider.js'))) as typeof Started;
      const { OnnxRuntime } = (await import(built('onnx/worker/onnx-runtime.js'))) as typeof Runtime;
      return new OnnxRuntime(await startProvider(executionProvider));
    },
  };
}

/** What each thread of the offline loop runs: nothing of the library. */
const loop = `
  const { createRequire } = require('node:module');
  const { parentPort, workerData } = require('node:worker_threads');
  const { path, provider, shape, packages } = workerData;
  const ort = createRequire(packages)('onnxruntime-node');
  const length = shape.reduce((a, b) => a * b, 1);
  void (async () => {
    const options = { executionProviders: [provider], intraOpNumThreads: 1, interOpNumThreads: 1 };
    const session = await ort.InferenceSession.create(path, options);
    parentPort.on('message', async ([batches, size]) => {
      const values = Float32Array.from({ length: size * length }, (_, i) => (i * 37) % 256);
      const start = performance.now();
      for (let i = 0; i < batches; i++) {
        await session.run({ [session.inputNames[0]]: new ort.Tensor('float32', values, [size, ...shape]) });
      }
      parentPort.postMessage(performance.now() - start);
    });
    parentPort.postMessage('ready');
  })();`;

async function startLoops(provider: string, { path, shape }: Subject, count: number): Promise<Loops> {
  const packages = createRequire(import.meta.url).resolve('onnxruntime-node');
  const workerData = { path, provider, shape, packages };
  const threads = Array.from(
    { length: count },
    () => new Worker(loop, { eval: true, workerData, execArgv: [] }),
  );
  await Promise.all(threads.map((thread) => once(thread, 'message')));
  return {
    run: (batches, size) =>
      Promise.all(
        threads.map(async (thread) => {
          const answer = once(thread, 'message');
          thread.postMessage([batches, size]);
          const [ms] = (await answer) as [number];
          return ms;
        }),
      ),
    end: async () => {
      await Promise.all(threads.map((thread) => thread.terminate()));
    },
  };
}
