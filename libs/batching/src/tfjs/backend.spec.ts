import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from '@jest/globals';
import { temporaryFolder } from './models.fixture.js';

/** Runs a script in a thread of its own, with `startBackend` of the built library, and gives what it posts. */
async function inThread(script: string): Promise<unknown> {
  const backend = new URL('../../../../dist/libs/batching/tfjs/backend.js', import.meta.url).href;
  const worker = new Worker(
    `import('${backend}').then(async ({ startBackend }) => {
      const { parentPort } = require('node:worker_threads');
      ${script}
    });`,
    { eval: true, stderr: true },
  );
  const [message] = (await once(worker, 'message')) as [unknown];
  await worker.terminate();
  return message;
}

/** A package in the place of `@tensorflow/tfjs-node-gpu`, whose TensorFlow is the backend `cpu`, with a GPU or without. */
function withTensorflow({ gpu }: { gpu: boolean }): string {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'lib', 'napi-v8'), { recursive: true });
  writeFileSync(join(folder, 'lib', 'napi-v8', 'tfjs_binding.node'), '');
  writeFileSync(join(folder, 'package.json'), '{}');
  const tfjs = createRequire(import.meta.url).resolve('@tensorflow/tfjs');
  writeFileSync(
    join(folder, 'index.js'),
    `const tf = (module.exports = require('${tfjs}'));
    for (const kernel of tf.getKernelsForBackend('cpu')) {
      tf.registerKernel({ ...kernel, backendName: 'tensorflow' });
    }
    const addon = { isUsingGpuDevice: ${gpu}, binding: { TF_Version: '2.99.0' } };
    tf.registerBackend('tensorflow', () => Object.assign(tf.findBackendFactory('cpu')(), addon));`,
  );
  return `
    const Module = require('node:module');
    const resolve = Module._resolveFilename;
    Module._resolveFilename = (name, ...rest) =>
      resolve(name.replace('@tensorflow/tfjs-node-gpu', '${folder}'), ...rest);
  `;
}

/** Software in the place of a GPU, or the other way round, where Dawn finds an adapter. */
function withAdapter({ software }: { software: boolean }): string {
  return `
    const { globals } = await import('webgpu');
    Object.defineProperty(globals.GPUAdapterInfo.prototype, 'isFallbackAdapter', { get: () => ${software} });
  `;
}

/** Why Dawn has no adapter here; `undefined` if it has one. */
const missing = (await inThread(`
  const problem = await startBackend('webgpu').then(() => undefined, ({ message }) => message);
  parentPort.postMessage(problem);
`)) as string | undefined;
if (missing) process.stderr.write(`SKIPPED: auto with a GPU, in three tests. ${missing}\n`);

const tensorflow = expect.stringMatching(
  /^tensorflow: has no GPU here, it would run on CPU \(TensorFlow 2.99.0\)$/,
);

describe('startBackend', () => {
  it("leaves the thread's listeners for errors as they were", async () => {
    const listeners = await inThread(`
      const mine = () => {};
      process.on('uncaughtException', mine).on('unhandledRejection', mine);
      await startBackend('wasm');
      const all = [...process.listeners('uncaughtException'), ...process.listeners('unhandledRejection')];
      parentPort.postMessage({ count: all.length, mine: all.every((listener) => listener === mine) });
    `);
    expect(listeners).toEqual({ count: 2, mine: true });
  });

  it('reports the reason that TensorFlow.js hides', async () => {
    const error = await inThread(`
      WebAssembly.instantiate = () => Promise.reject(new Error('no WebAssembly today'));
      const error = await startBackend('wasm').catch((error) => error);
      parentPort.postMessage({ code: error.code, message: error.message });
    `);
    expect(error).toHaveProperty('code', 'ERR_BATCHING_BACKEND');
    expect(error).toHaveProperty('message', expect.stringContaining('no WebAssembly today'));
  });

  it('falls back to cpu under auto, with the reasons', async () => {
    const report = await inThread(`
      WebAssembly.instantiate = () => Promise.reject(new Error('no WebAssembly today'));
      require('node:fs').existsSync = () => false;
      require('node:module').syncBuiltinESMExports();
      const { report } = await startBackend('auto');
      parentPort.postMessage(report);
    `);
    expect(report).toMatchObject({ backend: 'cpu', device: 'CPU (plain JavaScript)' });
    expect(report).toHaveProperty('passedOver.length', 3);
  });

  it('takes a TensorFlow with a GPU under auto, and tries no other', async () => {
    const report = await inThread(`
      ${withTensorflow({ gpu: true })}
      const { report } = await startBackend('auto');
      parentPort.postMessage({ ...report, dawn: 'GPUDevice' in globalThis });
    `);
    const device = 'GPU (TensorFlow 2.99.0)';
    expect(report).toEqual({ backend: 'tensorflow', device, gpu: true, passedOver: [], dawn: false });
  });

  it('takes a TensorFlow without a GPU under auto if no other backend has one', async () => {
    const result = await inThread(`
      ${withTensorflow({ gpu: false })}
      ${withAdapter({ software: true })}
      const { report, tf } = await startBackend('auto');
      parentPort.postMessage({ ...report, used: tf.getBackend() });
    `);
    expect(result).toEqual({
      backend: 'tensorflow',
      device: 'CPU (TensorFlow 2.99.0)',
      gpu: false,
      passedOver: [expect.stringMatching(/^webgpu: (found no GPU; |has no GPU here, it would run on CPU)/)],
      used: 'tensorflow',
    });
  });

  (missing ? it.skip : it)('takes a GPU under auto rather than a TensorFlow without', async () => {
    const result = await inThread(`
      ${withTensorflow({ gpu: false })}
      ${withAdapter({ software: false })}
      const { report, tf, checked } = await startBackend('auto');
      const product = await checked(() => tf.matMul(tf.ones([30, 30]), tf.ones([30, 30])).data());
      parentPort.postMessage({ ...report, used: tf.getBackend(), product: product[899] });
    `);
    expect(result).toMatchObject({ backend: 'webgpu', gpu: true, used: 'webgpu', product: 30 });
    expect(result).toHaveProperty('passedOver', [tensorflow]);
  });

  (missing ? it.skip : it)('goes back to a TensorFlow without a GPU when the GPU does not work', async () => {
    const result = await inThread(`
      ${withTensorflow({ gpu: false })}
      ${withAdapter({ software: false })}
      globals.GPUBuffer.prototype.mapAsync = () => Promise.reject(new Error('no reading today'));
      const { report, tf } = await startBackend('auto');
      const product = await tf.matMul(tf.ones([30, 30]), tf.ones([30, 30])).data();
      parentPort.postMessage({ ...report, used: tf.getBackend(), product: product[899] });
    `);
    expect(result).toMatchObject({ backend: 'tensorflow', used: 'tensorflow', product: 30 });
    expect(result).toHaveProperty('passedOver', ['webgpu: no reading today']);
  });

  (missing ? it.skip : it)('takes no software Vulkan under auto, but by its name', async () => {
    const reports = await inThread(`
      ${withAdapter({ software: true })}
      require('node:fs').existsSync = () => false;
      require('node:module').syncBuiltinESMExports();
      const { report } = await startBackend('auto');
      const { report: named } = await startBackend('webgpu');
      parentPort.postMessage([report, named]);
    `);
    expect(reports).toMatchObject([
      { backend: 'wasm', passedOver: [expect.anything(), expect.stringMatching(/^webgpu: has no GPU here/)] },
      {
        backend: 'webgpu',
        gpu: false,
        device: expect.stringMatching(/^CPU \(.+, software .+ through Dawn\)$/),
      },
    ]);
  });

  it('says what to install where Dawn finds no GPU', async () => {
    const error = await inThread(`
      const { globals } = await import('webgpu');
      globals.GPU.prototype.requestAdapter = () => Promise.resolve(null);
      const error = await startBackend('webgpu').catch((error) => error);
      parentPort.postMessage({ code: error.code, message: error.message });
    `);
    expect(error).toHaveProperty('code', 'ERR_BATCHING_BACKEND');
    expect(error).toHaveProperty(
      'message',
      expect.stringMatching(/^backend webgpu cannot start; webgpu: found no GPU; install /),
    );
  });
});
