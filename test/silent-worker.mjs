/**
 * Loaded into the demo's process, and by that into its inference worker, before everything else. Once the path SILENCE
 * exists, the worker falls silent with the next batch: in native code if it is a pipe without a writer, whose opening is a
 * system call that does not return; else, once, in a loop.
 */
import { existsSync, openSync, rmSync, statSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import threads, { isMainThread, parentPort, Worker } from 'node:worker_threads';

const { SILENCE } = process.env;

if (isMainThread) {
  threads.Worker = class extends Worker {
    constructor(url, options) {
      super(url, { ...options, execArgv: ['--import', import.meta.url] });
    }
  };
  syncBuiltinESMExports();
} else {
  const on = parentPort.on.bind(parentPort);
  parentPort.on = (event, listener) =>
    on(event, (message) => {
      if (message.name === 'predict' && existsSync(SILENCE)) fallSilent();
      listener(message);
    });
}

function fallSilent() {
  if (statSync(SILENCE).isFIFO()) openSync(SILENCE);
  rmSync(SILENCE);
  for (;;);
}
