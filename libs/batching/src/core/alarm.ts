import { LONGEST_TIMER } from './options.js';

/**
 * One timer, which can be set again and again.
 *
 * A fake clock, as in a test, brings a `setTimeout` of its own; when it comes or goes, what is pending is lost with the
 * clock that it was set by. So an alarm knows which one that was, and is cleared by the same clock.
 */
export class Alarm {
  /** The moment it is set for; `Infinity` while it is not. */
  at = Infinity;
  #timer: Timer | undefined;
  #setBy: typeof setTimeout | undefined;
  #clearBy: ((timer: Timer) => void) | undefined;

  /** @param keepsAlive whether the process goes on while nothing is left but this alarm */
  constructor(
    private readonly ring: (at: number, now: number) => void,
    private readonly keepsAlive: boolean,
  ) {}

  /** Whether it will not ring any more, though it is set: its clock has gone, or it should have rung before `now`. */
  isLost(now: number): boolean {
    return this.#timer !== undefined && (this.#setBy !== setTimeout || this.at < now);
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
    if (!this.keepsAlive) timer.unref?.();
    this.#timer = timer;
    this.#setBy = setTimeout;
    this.#clearBy = clearTimeout as (timer: Timer) => void;
    this.at = at;
  }

  clear(): void {
    if (this.#timer !== undefined) this.#clearBy?.(this.#timer);
    this.#timer = this.#setBy = this.#clearBy = undefined;
    this.at = Infinity;
  }
}

/** What `setTimeout` returns; a number under some fake clocks. */
interface Timer {
  unref?: () => unknown;
}
