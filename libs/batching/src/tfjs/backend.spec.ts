import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from '@jest/globals';

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

  it('gives the reason that TensorFlow.js keeps to itself', async () => {
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
});
