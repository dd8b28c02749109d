import { setTimeout as sleep } from 'node:timers/promises';

const free = 0;
const held = 1;
const taken = 2;

/** How long an end waits for the work under way, in milliseconds. */
const patience = 5000;

/**
 * Keeps the inference worker alive while a device works for it: the worker holds the lock for as long, and the main thread
 * takes it before it ends the worker. For Dawn (WebGPU) aborts the whole process, with SIGABRT, when a thread ends that has
 * a promise of its under way.
 */
export class DeviceLock {
  /** For the other thread's `DeviceLock`. */
  readonly memory: SharedArrayBuffer;
  readonly #state: Int32Array<SharedArrayBuffer>;

  constructor(memory = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#state = new Int32Array(memory);
  }

  /** In the worker, one at a time. Never settles once the lock was taken: the thread is about to end. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    if (Atomics.compareExchange(this.#state, 0, free, held) === taken) return new Promise(() => undefined);
    try {
      return await work();
    } finally {
      this.release();
    }
  }

  /** In the worker, also when it ends by itself. */
  release(): void {
    Atomics.compareExchange(this.#state, 0, held, free);
    Atomics.notify(this.#state, 0);
  }

  /** In the main thread: waits for the work under way, and lets no other begin. */
  async take(): Promise<void> {
    for (const end = Date.now() + patience; !this.#tryTake() && Date.now() < end;) await sleep(2);
  }

  /** The same for the end of the process, which cannot wait for a promise. */
  takeSync(): void {
    while (!this.#tryTake() && Atomics.wait(this.#state, 0, held, patience) !== 'timed-out');
  }

  #tryTake(): boolean {
    return Atomics.compareExchange(this.#state, 0, free, taken) !== held;
  }
}
