/**
 * Loaded into the demo's process before everything else, by `reliability.ts`, as long as a run takes:
 *
 * - A picture that begins with the bytes 255 and 1 makes its whole batch fail, as an input does that a model cannot bear.
 * - SIGUSR2 ends an inference worker, as a crash in it does: each time the one that was started first.
 * - At each full collection, every MEMORY_EVERY milliseconds, what it holds and the CPU time that it has used are written to
 *   stdout, and at the end the statistics of its queues.
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
    const { user, system } = process.cpuUsage();
    const cpu = { at: Date.now(), used: (user + system) / 1000 };
    console.log(`PROCESS ${JSON.stringify({ held: heapUsed + external, rss, cpu })}`);
  }, Number(process.env.MEMORY_EVERY)).unref();
}
