import { type Clock, LONGEST_TIMER, type Timer } from './clock.js';

/**
 * One timer, which can be set again and again.
 *
 * Fake timers replace the clock's functions, so a timer is cleared by the function that belongs to the one
 * that set it.
 */
export class Alarm {
  /** When it rings, in milliseconds of the clock; `Infinity` while it is not set. */
  at = Infinity;
  #timer: Timer | undefined;
  #clearBy: Clock['clearTimeout'] | undefined;

  /**
   * @param ring called with the moment that the alarm was set for, and the present one
   * @param keepsAlive whether the pending alarm keeps the process alive
   */
  constructor(
    private readonly clock: Clock,
    private readonly ring: (at: number, now: number) => void,
    private readonly keepsAlive: boolean,
  ) {}

  /** Whether it should have rung before `now` and has not: fake timers may have discarded it. */
  isOverdue(now: number): boolean {
    return this.at < now;
  }

  /** Rings at the moment `at`; never, if that is more than `LONGEST_TIMER` (24 days) away. */
  set(at: number, now: number): void {
    this.clear();
    if (at - now > LONGEST_TIMER) return;
    const { setTimeout, clearTimeout } = this.clock;
    const timer = setTimeout(() => {
      // Ignore a timer that could not be cleared because the clock had changed.
      if (this.#timer !== timer) return;
      this.clear();
      this.ring(at, this.clock.now());
    }, at - now);
    this.#timer = timer;
    if (!this.keepsAlive) this.unref();
    this.#clearBy = clearTimeout;
    this.at = at;
  }

  /** Stops the pending alarm from keeping the process alive. */
  unref(): void {
    this.#timer?.unref?.();
  }

  clear(): void {
    if (this.#timer !== undefined) this.#clearBy?.(this.#timer);
    this.#timer = this.#clearBy = undefined;
    this.at = Infinity;
  }
}
