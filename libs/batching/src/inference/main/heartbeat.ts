/** The silence allowed in any case, in multiples of the longest batch so far. */
const longestBatches = 3;
/** Longest time between two checks, in milliseconds; less than a timer can hold. */
const longestStep = 5000;

/**
 * Measures how long a worker has been silent about its current call, and reports a silence beyond the limit.
 *
 * An answer is the beat: a thread in one long WebAssembly or native call can give no other sign. Between calls there is no
 * timer. Several checks per limit distinguish silence from a process that was stopped as a whole (SIGSTOP, a paused virtual
 * machine): a check that comes late restarts the measurement.
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

  /** The longest silence allowed at present, in milliseconds: as set, and at least three times the longest batch so far. */
  get limit(): number {
    return Math.max(this.#least, longestBatches * this.#longest);
  }

  /** The worker begins another call. */
  start(onSilence: (silence: number) => void): void {
    this.#since = performance.now();
    this.#onSilence = onSilence;
    if (!this.#timer && this.#least !== Infinity) this.#checkIn(this.limit, this.#since);
  }

  /** The worker has answered. Either `start` or `stop` follows. */
  beat(): void {
    this.#longest = Math.max(this.#longest, performance.now() - this.#since);
    clearImmediate(this.#verdict);
  }

  /** The worker has no call that is measured. */
  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#verdict);
    this.#timer = undefined;
    this.#onSilence = undefined;
  }

  #checkIn(remaining: number, now: number): void {
    const step = Math.min(remaining, this.limit / 8, longestStep);
    this.#due = now + step;
    this.#timer = setTimeout(() => {
      this.#check();
    }, step).unref();
  }

  #check(): void {
    const now = performance.now();
    const { limit } = this;
    if (now - this.#due > limit / 4) this.#since = now;
    const silence = now - this.#since;
    if (silence < limit) {
      this.#checkIn(limit - silence, now);
      return;
    }
    this.#timer = undefined;
    // Timers run before messages are read: an answer that has arrived meanwhile is read first.
    this.#verdict = setImmediate(() => {
      this.#onSilence?.(silence);
    });
  }
}
