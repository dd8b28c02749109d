/** Largest delay, in milliseconds, that a timer of Node can hold; a longer one would ring at once. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** What `setTimeout` returns: an object under Node's clock, a number under some fake ones. */
export interface Timer {
  unref?: () => unknown;
}

/**
 * The functions that a queue knows the time by. `now` is in milliseconds and never goes back. They are called without a
 * `this`. Where a function is replaced by another, the queue takes it for the sign that another clock has come.
 */
export interface Clock {
  readonly now: () => number;
  readonly setTimeout: (ring: () => void, delay: number) => Timer;
  readonly clearTimeout: (timer: Timer) => void;
  /** Calls back in the check phase, after the poll phase has read the sockets. */
  readonly setImmediate: (call: () => void) => unknown;
  readonly clearImmediate: (immediate: unknown) => void;
}

/** The process's clock. Its functions are looked up at every use, since a test may replace them while a queue lives. */
export const processClock: Clock = {
  now: () => performance.now(),
  get setTimeout() {
    return setTimeout as Clock['setTimeout'];
  },
  get clearTimeout() {
    return clearTimeout as Clock['clearTimeout'];
  },
  get setImmediate() {
    return setImmediate as Clock['setImmediate'];
  },
  get clearImmediate() {
    return clearImmediate as Clock['clearImmediate'];
  },
};
