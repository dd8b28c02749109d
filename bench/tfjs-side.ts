import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import {
  getTfjsModelToken,
  startBackend,
  type TfjsBackend,
  TfjsBackendError,
  type TfjsModel,
  TfjsModule,
} from 'nest-batching/tfjs';
import type * as TfjsRuntimeFile from '../libs/batching/src/tfjs/worker/tfjs-runtime.js';
import { built, type RuntimeSide, type Subject } from './runtime-side.js';

/** 784 → 1024 → 1024 → 10: nothing but matrix products. */
const mlp = `
  export const inputs = { pixels: { shape: [784] } };
  export const load = (tf) => tf.sequential({ layers: [
    tf.layers.dense({ units: 1024, activation: 'relu', inputShape: [784], kernelInitializer: tf.initializers.heNormal({ seed: 1 }) }),
    tf.layers.dense({ units: 1024, activation: 'relu', kernelInitializer: tf.initializers.heNormal({ seed: 2 }) }),
    tf.layers.dense({ units: 10, activation: 'softmax', kernelInitializer: tf.initializers.heNormal({ seed: 3 }) }),
  ] });
  export const run = (tf, pixels, model) => model.predictOnBatch(tf.div(pixels, 255));
  `;

const LOOP = 'offline loop';

/** TensorFlow.js on one backend. */
export function tfjsSide(backend: TfjsBackend, digits: string): RuntimeSide {
  return {
    BackendError: TfjsBackendError,
    paths: {
      digits,
      mlp: (folder) => writeModule(folder, 'mlp', mlp),
      // In plain JavaScript one tile takes half a minute.
      ...(backend === 'cpu' ? {} : { esrgan: join(packageFolder('@upscalerjs/default-model'), 'models') }),
    },
    root: (workers) => TfjsModule.forRoot({ backend, workers }),
    feature: (models) => TfjsModule.forFeature(models),
    tokenOf: getTfjsModelToken,
    loopModels: (subject, folder) => [{ name: LOOP, path: offlineLoop(subject, folder) }],
    loops: (app) => {
      const model = app.get<TfjsModel>(getTfjsModelToken(LOOP), { strict: false });
      return Promise.resolve({
        // Loops that are asked for at the same time run in different workers.
        run: async (batches, size) => {
          const loops = Array.from({ length: model.workers }, () =>
            model.predict([{ batches: [batches], size: [size] }]),
          );
          return (await Promise.all(loops)).map(([result]) => result?.output?.[0] ?? NaN);
        },
        end: () => Promise.resolve(),
      });
    },
    onMainThread: async () => {
      const { TfjsRuntime } = (await import(built('tfjs/worker/tfjs-runtime.js'))) as typeof TfjsRuntimeFile;
      return new TfjsRuntime(await startBackend(backend));
    },
  };
}

/**
 * Own code for the worker that measures the limit: the same model, a batch that is there already, and its results read,
 * again and again. Its input is how many batches of which size; its result the milliseconds that they took.
 */
function offlineLoop({ name, path, shape }: Subject, folder: string): string {
  const source = JSON.stringify(path);
  const load = path.endsWith('.mjs')
    ? `
      import * as own from ${source};
      export const load = async (tf) => {
        const model = await own.load(tf);
        return (input) => own.run(tf, input, model);
      };`
    : `
      export const load = async (tf, loadModel) => {
        const model = await loadModel(${source});
        return (input) => model.predictOnBatch(input);
      };`;
  return writeModule(
    folder,
    `offline ${name}`,
    `${load}
    export const inputs = { batches: { shape: [1] }, size: { shape: [1] } };
    export const run = async (tf, { batches, size }, predict) => {
      const [count] = await batches.data();
      const [n] = await size.data();
      const values = Float32Array.from({ length: n * ${shape.reduce((a, b) => a * b, 1)} }, (_, i) => (i * 37) % 256);
      const start = performance.now();
      for (let i = 0; i < count; i++) {
        const input = tf.tensor(values, [n, ${shape.join(', ')}]);
        const output = tf.tidy(() => predict(input));
        await output.data();
        tf.dispose([input, output]);
      }
      return tf.fill(batches.shape, performance.now() - start);
    };`,
  );
}

function writeModule(folder: string, name: string, source: string): string {
  const path = join(folder, `${name}.mjs`);
  writeFileSync(path, source);
  return path;
}

/** The folder of a package whose `exports` hide its package.json. */
function packageFolder(name: string): string {
  const main = createRequire(import.meta.url).resolve(name);
  return main.slice(0, main.indexOf(name) + name.length);
}
