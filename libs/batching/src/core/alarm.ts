import { type Clock, LONGEST_TIMER, type Timer } from './clock.js';

/**
 * One timer, which can be set again and again.
 *
 * A fake clock, as in a test, brings functions of its own. So a timer is cleared by the clock that it was set by.
 */
export class Alarm {
  /** The moment it is set for; `Infinity` while it is not. */
  at = Infinity;
  #timer: Timer | undefined;
  #clearBy: Clock['clearTimeout'] | undefined;

  /** @param keepsAlive whether the process goes on while nothing is left but this alarm */
  constructor(
    private readonly clock: Clock,
    private readonly ring: (at: number, now: number) => void,
    private readonly keepsAlive: boolean,
  ) {}

  /** Whether it is set, but should have rung before `now`: a fake clock may have lost it. */
  isOverdue(now: number): boolean {
    return this.at < now;
  }

  /** Rings at that moment, unless it is farther away than a timer of Node can hold: 24 days. */
  set(at: number, now: number): void {
    this.clear();
    if (at - now > LONGEST_TIMER) return;
    const { setTimeout, clearTimeout } = this.clock;
    const timer = setTimeout(() => {
      // A timer that could not be cleared, because another clock had come, is ignored.
      if (this.#timer !== timer) return;
      this.clear();
      this.ring(at, this.clock.now());
    }, at - now);
    this.#timer = timer;
    if (!this.keepsAlive) this.unref();
    this.#clearBy = clearTimeout;
    this.at = at;
  }

  /** From here on it does not keep the process alive. */
  unref(): void {
    this.#timer?.unref?.();
  }

  clear(): void {
    if (this.#timer !== undefined) this.#clearBy?.(this.#timer);
    this.#timer = this.#clearBy = undefined;
    this.at = Infinity;
  }
}
