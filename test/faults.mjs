/**
 * Loaded into an application's process, and its worker threads, before everything else. What FAULT says goes wrong:
 *
 * - `block`: SIGUSR2 blocks the event loop as long as the file FAULT_FILE exists. What is sent meanwhile, connections and
 *   signals, waits in the system.
 * - `crash`: SIGUSR2 makes the main thread crash, as a bug of a native addon does: its stack is overwritten, so that it
 *   returns to an address that is none. On Linux.
 * - `stuck-worker`: its worker threads are stuck in native code once the file FAULT_FILE exists. Nothing ends them then, be
 *   it `terminate()` or `process.exit()`.
 * - `never-closes`: its servers never say that they have closed.
 */
import { Buffer } from 'node:buffer';
import { execFileSync } from 'node:child_process';
import { existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { Server } from 'node:net';
import { clearInterval, setInterval } from 'node:timers';
import workerThreads, { isMainThread, Worker } from 'node:worker_threads';

const { FAULT, FAULT_FILE } = process.env;

if (FAULT === 'block' && isMainThread) {
  const never = new Int32Array(new SharedArrayBuffer(4));
  process.on('SIGUSR2', () => {
    writeSync(1, 'the event loop is blocked\n');
    while (existsSync(FAULT_FILE)) Atomics.wait(never, 0, 0, 5);
  });
}

if (FAULT === 'crash' && isMainThread) {
  process.on('SIGUSR2', () => {
    const maps = readFileSync('/proc/self/maps', 'utf8');
    const [, first, last] = /^(\w+)-(\w+) .*\[stack\]$/m.exec(maps);
    const start = parseInt(first, 16);
    const size = parseInt(last, 16) - start;
    writeSync(openSync('/proc/self/mem', 'r+'), Buffer.alloc(size), 0, size, start);
  });
}

if (FAULT === 'stuck-worker' && isMainThread) {
  // The library's worker is started without the options of the process.
  workerThreads.Worker = class extends Worker {
    constructor(file, options) {
      super(file, { ...options, execArgv: ['--import', import.meta.url] });
    }
  };
  syncBuiltinESMExports();
}

if (FAULT === 'stuck-worker' && !isMainThread) {
  const timer = setInterval(() => {
    if (!existsSync(FAULT_FILE)) return;
    clearInterval(timer);
    writeSync(1, 'the worker is stuck\n');
    execFileSync('sleep', ['60']);
  }, 5).unref();
}

if (FAULT === 'never-closes') Server.prototype.close = () => undefined;
