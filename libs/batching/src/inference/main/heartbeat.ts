/** The silence that is always allowed, in multiples of the longest answer so far. */
const LONGEST_ANSWERS = 3;
/** Longest time between two checks, in milliseconds. */
const LONGEST_STEP = 5000;

/**
 * Measures how long a worker has been silent about its current call, and reports a silence beyond the limit.
 *
 * Its answers are the beats: during a long WebAssembly or native call a thread can give no other sign.
 * Without a call there is no timer. Several checks per limit distinguish a silent worker from a process that
 * was stopped as a whole (SIGSTOP, a paused virtual machine): a check that comes late restarts the
 * measurement.
 */
export class Heartbeat {
  readonly #least: number;
  /** Longest time to an answer so far, in milliseconds. */
  #longest = 0;
  #onSilence: ((silence: number) => void) | undefined;
  /** Start of the silence, by `performance.now()`. */
  #since = 0;
  /** When the next check is due. */
  #due = 0;
  #timer: NodeJS.Timeout | undefined;
  #verdict: NodeJS.Immediate | undefined;

  /** @param limit longest silence, in milliseconds; `Infinity` allows any */
  constructor(limit: number) {
    this.#least = limit;
  }

  /**
   * The longest silence allowed at present, in milliseconds: as configured, or three times the longest answer
   * so far.
   */
  get limit(): number {
    return Math.max(this.#least, LONGEST_ANSWERS * this.#longest);
  }

  /** The worker begins a call. */
  start(onSilence: (silence: number) => void): void {
    this.#since = performance.now();
    this.#onSilence = onSilence;
    if (!this.#timer && this.#least !== Infinity) this.#checkIn(this.limit, this.#since);
  }

  /** The worker has answered. The caller of this method calls `start` or `stop` next. */
  beat(): void {
    this.#longest = Math.max(this.#longest, performance.now() - this.#since);
    clearImmediate(this.#verdict);
  }

  /** The worker has no call whose time is limited. */
  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#verdict);
    this.#timer = undefined;
    this.#onSilence = undefined;
  }

  #checkIn(remaining: number, now: number): void {
    const step = Math.min(remaining, this.limit / 8, LONGEST_STEP);
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
    // Timers run before messages are read: first read an answer that has arrived meanwhile.
    this.#verdict = setImmediate(() => {
      this.#onSilence?.(silence);
    });
  }
}
