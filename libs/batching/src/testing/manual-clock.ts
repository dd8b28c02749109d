import type { Clock, Timer } from '../core/clock.js';

/**
 * A clock that stands still. Immediates are held until `release`; timers ring in `advance`. It uses nothing that a
 * test's fake timers replace: released immediates are called in a microtask of a promise.
 */
export class ManualClock implements Clock {
  #now = 0;
  #releases = 0;
  readonly #immediates = new Set<() => void>();
  readonly #timers = new Map<Timer, { readonly at: number; readonly ring: () => void }>();

  readonly now = (): number => this.#now;

  readonly setTimeout = (ring: () => void, delay: number): Timer => {
    const timer: Timer = { unref: () => timer };
    this.#timers.set(timer, { ring, at: this.#now + delay });
    return timer;
  };

  readonly clearTimeout = (timer: Timer): void => {
    this.#timers.delete(timer);
  };

  readonly setImmediate = (call: () => void): unknown => {
    // A function of its own, so that one that is given twice is called twice.
    const immediate = (): void => {
      call();
    };
    this.#immediates.add(immediate);
    this.#callSoon(immediate);
    return immediate;
  };

  readonly clearImmediate = (immediate: unknown): void => {
    this.#immediates.delete(immediate as () => void);
  };

  /** Calls the immediates that are held, and those set from now on, until `hold` is called as often as this. */
  release(): void {
    this.#releases++;
    for (const immediate of this.#immediates) this.#callSoon(immediate);
  }

  hold(): void {
    this.#releases--;
  }

  /** Lets `ms` milliseconds pass, and rings the timers that are due, in their order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (let next = this.#next(end); next; next = this.#next(end)) {
      const [timer, { at, ring }] = next;
      this.#timers.delete(timer);
      this.#now = Math.max(this.#now, at);
      ring();
    }
    this.#now = end;
  }

  #next(end: number) {
    const due = [...this.#timers].filter(([, { at }]) => at <= end);
    return due.sort(([, one], [, other]) => one.at - other.at)[0];
  }

  #callSoon(immediate: () => void): void {
    void Promise.resolve().then(() => {
      if (this.#releases > 0 && this.#immediates.delete(immediate)) immediate();
    });
  }
}
