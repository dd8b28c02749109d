/**
 * Loaded into the demo's process before everything else, by `reliability.ts`, as long as a run takes:
 *
 * - A picture that begins with the bytes 255 and 1 makes its whole batch fail, as an input does that a model cannot bear.
 * - SIGUSR2 ends an inference worker, as a crash in it does: each time the one that was started first.
 * - Every half second of a full collection, what it holds is written to stdout, and at the end the statistics of its queues.
 */
import { pathToFileURL } from 'node:url';
import { syncBuiltinESMExports } from 'node:module';
import { setInterval } from 'node:timers';
import threads, { isMainThread, Worker } from 'node:worker_threads';

if (isMainThread) {
  const workers = new Set();
  threads.Worker = class extends Worker {
    constructor(...options) {
      super(...options);
      workers.add(this);
      this.once('exit', () => workers.delete(this));
    }
  };
  syncBuiltinESMExports();
  process.on('SIGUSR2', () => {
    const [first] = workers;
    void first?.terminate();
  });

  const main = pathToFileURL(process.argv[1]);
  const load = (path) => import(new URL(`../../../libs/batching/src/${path}`, main).href);
  const { TfjsModel } = await load('tfjs/index.js');
  const predict = TfjsModel.prototype.predict;
  TfjsModel.prototype.predict = function (inputs) {
    const isPoison = (input) => input[0] === 255 && input[1] === 1;
    return inputs.some(isPoison) ? Promise.reject(new Error('poison')) : predict.call(this, inputs);
  };

  const { BatchingRegistry } = await load('index.js');
  const stop = BatchingRegistry.prototype.onApplicationShutdown;
  BatchingRegistry.prototype.onApplicationShutdown = async function () {
    await stop.call(this);
    const stats = this.stats().find(({ name }) => name === 'DigitClassifier.classify');
    console.log(`STATS ${JSON.stringify(stats)}`);
  };

  setInterval(() => {
    globalThis.gc();
    const { heapUsed, external, rss } = process.memoryUsage();
    console.log(`MEMORY ${JSON.stringify({ held: heapUsed + external, rss })}`);
  }, Number(process.env.MEMORY_EVERY)).unref();
}
