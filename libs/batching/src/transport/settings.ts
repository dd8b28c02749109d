import { checkCount, checkMilliseconds, show } from '../core/checks.js';

/** Settings that all transports have. */
export interface TransportSettings {
  /**
   * Milliseconds, > 0, of silence after which a node counts as dead, and its inputs are delivered to another one. A
   * node is silent while its event loop is blocked: choose more than your longest blocking batch takes.
   * Default 2,000.
   */
  redeliverAfter?: number | undefined;
  /**
   * Most deliveries of one input: an integer ≥ 1. The second runs only with other second ones, from the third on
   * alone; beyond, its caller gets a `RedeliveryError`. Default 3.
   */
  maxDeliver?: number | undefined;
  /** Milliseconds, ≥ 0, after which a call that no node serves gets a `NoNodeError`. Default 5,000. */
  noNodeTimeout?: number | undefined;
  /**
   * Milliseconds, ≥ 0, after which a call gets a `TransportError` while the broker cannot be reached; until then it is
   * kept, and sent when the broker is there again. Default 10,000.
   */
  awayTimeout?: number | undefined;
}

export type ResolvedSettings = { readonly [K in keyof TransportSettings]-?: number };

/** @throws TypeError or RangeError with the name of the option, what was expected and what was given */
export function resolveSettings({
  redeliverAfter = 2_000,
  maxDeliver = 3,
  noNodeTimeout = 5_000,
  awayTimeout = 10_000,
}: TransportSettings = {}): ResolvedSettings {
  checkMilliseconds('redeliverAfter', redeliverAfter);
  if (redeliverAfter < 100 || redeliverAfter === Infinity) {
    throw new RangeError(`redeliverAfter: expected at least 100 ms, got ${show(redeliverAfter)}`);
  }
  checkCount('maxDeliver', maxDeliver, 1);
  checkMilliseconds('noNodeTimeout', noNodeTimeout);
  checkMilliseconds('awayTimeout', awayTimeout);
  return { redeliverAfter, maxDeliver, noNodeTimeout, awayTimeout };
}

export const OPENED_TWICE =
  'this transport is open already; give each BatchingModule.forRoot({ transport }) a transport of its own';

/** @throws Error for a transport that is not open yet */
export function opened<T>(value: T | undefined): T {
  if (value !== undefined) return value;
  throw new Error(NOT_OPEN);
}

/** @returns a promise that rejects, for what never throws */
export function notOpen(): Promise<never> {
  return Promise.reject(new Error(NOT_OPEN));
}

const NOT_OPEN =
  'this transport is not open; BatchingModule.forRoot({ transport }) opens it when the application starts';
