import * as timers from 'node:timers';

/** Largest delay of a timer of Node, in milliseconds (24 days); with a longer one it would ring at once. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** What `setTimeout` returns: an object under Node's clock, a number under some fake ones. */
export interface Timer {
  unref?: () => unknown;
}

/**
 * The functions through which a queue reads the time and sets timers. `now` is in milliseconds and never
 * decreases. They are called without `this`. If one of them is replaced, the queue treats it as a new clock.
 */
export interface Clock {
  readonly now: () => number;
  readonly setTimeout: (ring: () => void, delay: number) => Timer;
  readonly clearTimeout: (timer: Timer) => void;
  /** Calls back in the check phase, after the poll phase has read the sockets. */
  readonly setImmediate: (call: () => void) => unknown;
  readonly clearImmediate: (immediate: unknown) => void;
}

/**
 * The process's clock. Its functions are looked up at every use: fake timers may replace them while a queue
 * exists.
 *
 * A class, although there is one object: V8 keeps an object literal with getters as a dictionary, and reading
 * `setImmediate` from that for every input is a tenth of what the input costs.
 */
class ProcessClock implements Clock {
  readonly now = () => performance.now();

  get setTimeout() {
    return setTimeout as Clock['setTimeout'];
  }

  get clearTimeout() {
    return clearTimeout as Clock['clearTimeout'];
  }

  get setImmediate() {
    return setImmediate as Clock['setImmediate'];
  }

  get clearImmediate() {
    return clearImmediate as Clock['clearImmediate'];
  }
}

export const processClock: Clock = new ProcessClock();

/** Node's own, as it was when this library was loaded: fake timers may replace it in `node:timers` as well. */
const { setImmediate: nodesOwn } = timers;

/** Whether immediates that the function sets may be discarded. Fake timers do that; Node itself never does. */
export function mayLoseImmediates(setImmediate: Clock['setImmediate']): boolean {
  return setImmediate !== nodesOwn;
}
