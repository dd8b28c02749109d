/** How many times as long as the longest batch so far a worker may be silent, whatever limit was set. */
const longestBatches = 3;
/** Longest time between two looks, in milliseconds; less than a timer can hold. */
const longestStep = 5000;

/**
 * Measures how long a worker has been silent about the call that it has at hand, and reports it beyond a limit.
 *
 * An answer is the beat: a thread in one long WebAssembly or native call can give no other. Between calls there is no timer.
 * A few looks per limit tell silence from a process that stood still (SIGSTOP, a virtual machine that was paused), and its
 * worker with it: a look that comes late starts the measurement afresh.
 */
export class Heartbeat {
  readonly #least: number;
  /** The longest that the worker has taken for an answer, in milliseconds. */
  #longest = 0;
  #onSilence: ((silence: number) => void) | undefined;
  /** Start of the silence, by `performance.now()`. */
  #since = 0;
  #due = 0;
  #timer: NodeJS.Timeout | undefined;
  #verdict: NodeJS.Immediate | undefined;

  /** @param limit longest silence, in milliseconds; `Infinity` allows any */
  constructor(limit: number) {
    this.#least = limit;
  }

  /** The longest silence at present, in milliseconds: as set, and at least three times the longest so far. */
  get limit(): number {
    return Math.max(this.#least, longestBatches * this.#longest);
  }

  /** The worker has another call at hand. */
  start(onSilence: (silence: number) => void): void {
    this.#since = performance.now();
    this.#onSilence = onSilence;
    if (!this.#timer && this.#least !== Infinity) this.#lookIn(this.limit, this.#since);
  }

  /** The worker has answered. Either `start` or `stop` follows. */
  beat(): void {
    this.#longest = Math.max(this.#longest, performance.now() - this.#since);
    clearImmediate(this.#verdict);
  }

  /** The worker has nothing at hand that is measured. */
  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#verdict);
    this.#timer = undefined;
    this.#onSilence = undefined;
  }

  #lookIn(remaining: number, now: number): void {
    const step = Math.min(remaining, this.limit / 8, longestStep);
    this.#due = now + step;
    this.#timer = setTimeout(() => {
      this.#look();
    }, step).unref();
  }

  #look(): void {
    const now = performance.now();
    const { limit } = this;
    if (now - this.#due > limit / 4) this.#since = now;
    const silence = now - this.#since;
    if (silence < limit) {
      this.#lookIn(limit - silence, now);
      return;
    }
    this.#timer = undefined;
    // Timers run before messages are read: an answer that lies there unread is read first.
    this.#verdict = setImmediate(() => {
      this.#onSilence?.(silence);
    });
  }
}
