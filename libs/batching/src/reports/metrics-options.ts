import { checkMilliseconds, show } from '../core/checks.js';

/** The aims for the latency of queues, from which the number of replicas is computed. */
export interface LatencyAims {
  /** Milliseconds, > 0, below which 99 of 100 inputs are to get their result. */
  p99?: number;
  /** The same for single queues, by name (`DigitClassifier.classify`); goes before `p99`. */
  queues?: Readonly<Record<string, number>>;
}

/** Options of whatever exports metrics. */
export interface MetricsOptions {
  /**
   * With it, `batching_replicas_needed` is exported for the queues that have an aim. Default: none.
   */
  slo?: LatencyAims;
  /** Milliseconds, > 0, over which rates are taken that gauges show. Default 30,000. */
  window?: number;
}

/** @throws TypeError or RangeError with the option's name, what was expected and what was given */
export function checkMetricsOptions({ slo, window }: MetricsOptions): void {
  if (window !== undefined) checkAboveZero('window', window);
  if (slo === undefined) return;
  if (typeof slo !== 'object' || (slo as unknown) === null) {
    throw new TypeError(`slo: expected an object such as { p99: 200 }, got ${show(slo)}`);
  }
  const { p99, queues, ...others } = slo;
  for (const name of Object.keys(others)) {
    throw new TypeError(`slo: expected p99 or queues, got ${show(name)}`);
  }
  if (p99 !== undefined) checkAboveZero('slo.p99', p99);
  for (const [name, aim] of Object.entries(queues ?? {})) checkAboveZero(`slo.queues['${name}']`, aim);
}

function checkAboveZero(name: string, value: number): void {
  if (checkMilliseconds(name, value) === 0 || value === Infinity) {
    throw new RangeError(`${name}: expected milliseconds > 0, got ${show(value)}`);
  }
}
