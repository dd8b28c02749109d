import { LONGEST_TIMER } from './options.js';

/**
 * One timer, which can be set again and again.
 *
 * A fake clock, as in a test, brings functions of its own. So an alarm is cleared by the clock that it was set by.
 */
export class Alarm {
  /** The moment it is set for; `Infinity` while it is not. */
  at = Infinity;
  #timer: Timer | undefined;
  #clearBy: ((timer: Timer) => void) | undefined;

  /** @param keepsAlive whether the process goes on while nothing is left but this alarm */
  constructor(
    private readonly ring: (at: number, now: number) => void,
    private readonly keepsAlive: boolean,
  ) {}

  /** Whether it is set, but should have rung before `now`: a fake clock may have lost it. */
  isOverdue(now: number): boolean {
    return this.at < now;
  }

  /** Rings at that moment, unless that is too far away for a timer of Node: some weeks. */
  set(at: number, now: number): void {
    this.clear();
    if (at - now > LONGEST_TIMER) return;
    const timer: Timer = setTimeout(() => {
      // One that could not be cleared, as another clock had come, rings for nobody.
      if (this.#timer !== timer) return;
      this.clear();
      this.ring(at, performance.now());
    }, at - now);
    this.#timer = timer;
    if (!this.keepsAlive) this.unref();
    this.#clearBy = clearTimeout as (timer: Timer) => void;
    this.at = at;
  }

  /** The process does not go on for its sake alone. */
  unref(): void {
    this.#timer?.unref?.();
  }

  clear(): void {
    if (this.#timer !== undefined) this.#clearBy?.(this.#timer);
    this.#timer = this.#clearBy = undefined;
    this.at = Infinity;
  }
}

/** What `setTimeout` returns; a number under some fake clocks. */
interface Timer {
  unref?: () => unknown;
}
