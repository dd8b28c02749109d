/// <reference lib="es2024.sharedmemory" />
import { setTimeout as sleep } from 'node:timers/promises';

/** Indices into the shared memory; each value is 0 or 1: the worker works on the device, the main thread ends the worker. */
const working = 0;
const ending = 1;

/** How long `end` waits for the worker to stop its work, in milliseconds: it may be recording commands or compiling. */
const patience = 5000;

/**
 * Keeps the main thread from ending the worker while the worker waits for a device: Dawn (WebGPU) aborts the whole process
 * when a thread ends with one of Dawn's promises pending.
 */
export class DeviceLock {
  /** To construct the lock of the other thread with. */
  readonly memory: SharedArrayBuffer;
  readonly #state: Int32Array<SharedArrayBuffer>;

  constructor(memory = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#state = new Int32Array(memory);
  }

  /** Worker: runs work on the device, one at a time. Once the worker is being ended, no work begins and none settles. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    Atomics.store(this.#state, working, 1);
    const [outcome] = this.ending ? [] : await Promise.allSettled([work()]);
    this.release();
    if (!outcome || this.ending) return new Promise(() => undefined);
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  }

  /** Worker: marks the device as free, as `hold` does; for a worker that ends by itself. */
  release(): void {
    Atomics.store(this.#state, working, 0);
    Atomics.notify(this.#state, working);
  }

  /** Worker: whether it is being ended. */
  get ending(): boolean {
    return Atomics.load(this.#state, ending) === 1;
  }

  /**
   * Worker: calls `stop` when it is being ended while it works. The thread lives until the work has stopped; without work it
   * may end at any moment, where a call into Dawn would abort the process.
   */
  async onEnding(stop: () => void): Promise<void> {
    await Atomics.waitAsync(this.#state, ending, 0).value;
    if (this.#working) stop();
  }

  /** Main thread, before it ends the worker: lets no work begin, and waits until the work under way has stopped. */
  async end(): Promise<void> {
    this.#refuse();
    for (const last = Date.now() + patience; this.#working && Date.now() < last;) await sleep(1);
  }

  /** As `end`, when the process exits: it waits for no promise. */
  endSync(): void {
    this.#refuse();
    while (this.#working && Atomics.wait(this.#state, working, 1, patience) !== 'timed-out');
  }

  #refuse(): void {
    Atomics.store(this.#state, ending, 1);
    Atomics.notify(this.#state, ending);
  }

  get #working(): boolean {
    return Atomics.load(this.#state, working) === 1;
  }
}
