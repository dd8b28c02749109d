/// <reference lib="es2024.sharedmemory" />
import { setTimeout as sleep } from 'node:timers/promises';

/** Index into the shared memory: 1 while the worker works on the device, else 0. */
const WORKING = 0;
/** Index into the shared memory: 1 once the main thread ends the worker, else 0. */
const ENDING = 1;

/**
 * Longest that `end` waits for the worker to stop its work, in milliseconds: it may be recording commands or
 * compiling.
 */
const PATIENCE = 5000;

/**
 * Keeps the main thread from ending the worker while the worker waits for a device: Dawn (WebGPU) aborts the
 * whole process when a thread ends with one of Dawn's promises pending.
 */
export class DeviceLock {
  /** For the constructor of the other thread's lock. */
  readonly memory: SharedArrayBuffer;
  readonly #state: Int32Array<SharedArrayBuffer>;

  constructor(memory = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#state = new Int32Array(memory);
  }

  /**
   * Worker: runs work on the device; only one at a time. Once the worker is being ended, no work begins, and
   * the promise does not settle.
   */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    Atomics.store(this.#state, WORKING, 1);
    const [outcome] = this.ending ? [] : await Promise.allSettled([work()]);
    this.release();
    if (!outcome || this.ending) return new Promise(() => undefined);
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  }

  /** Worker: marks the device as free, as the end of `hold` does; for a worker that ends by itself. */
  release(): void {
    Atomics.store(this.#state, WORKING, 0);
    Atomics.notify(this.#state, WORKING);
  }

  /** Worker: whether it is being ended. */
  get ending(): boolean {
    return Atomics.load(this.#state, ENDING) === 1;
  }

  /**
   * Worker: calls `stop` when it is being ended while it works. The thread exists until the work has stopped.
   * Without work it may end at any moment, when a call into Dawn would abort the process, so `stop` is not
   * called.
   */
  async onEnding(stop: () => void): Promise<void> {
    await Atomics.waitAsync(this.#state, ENDING, 0).value;
    if (this.#working) stop();
  }

  /**
   * Main thread, before it ends the worker: prevents new work, and waits until the present work has stopped.
   */
  async end(): Promise<void> {
    this.#refuse();
    for (const last = Date.now() + PATIENCE; this.#working && Date.now() < last;) await sleep(1);
  }

  /** The same for the exit of the process, which waits for no promise. */
  endSync(): void {
    this.#refuse();
    while (this.#working && Atomics.wait(this.#state, WORKING, 1, PATIENCE) !== 'timed-out');
  }

  #refuse(): void {
    Atomics.store(this.#state, ENDING, 1);
    Atomics.notify(this.#state, ENDING);
  }

  get #working(): boolean {
    return Atomics.load(this.#state, WORKING) === 1;
  }
}
