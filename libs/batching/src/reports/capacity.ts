import type { RunTimeCurve } from './run-times.js';

/** What decides how many inputs a queue can serve in time. */
export interface Replica {
  readonly curve: RunTimeCurve;
  readonly batchSize: number;
  readonly concurrency: number;
  /** Milliseconds for which a partial batch is held back although a slot is free: `maxDelay` under `fixed`, else 0. */
  readonly delay: number;
}

/** The 99th percentile of a normal distribution, in standard deviations. */
const Z = 2.33;
/** A value is beyond the 99th percentile of an exponential distribution after this many means. */
const TAIL = Math.log(100);
/**
 * The aim is at least this multiple of the p99 of a replica that is hardly loaded. Closer to it the capacity
 * falls to nothing, and more replicas buy hardly any time.
 */
const LEAST = 1.25;
/** Share of the rate with full batches beyond which no aim allows: estimates are off by some per cent. */
const HEADROOM = 0.9;
const STEPS = 50;

/**
 * The p99 of the latency, in milliseconds, of independent inputs that arrive at `rate` per millisecond, in
 * any batcher that lets batches grow while all slots are busy. docs/metrics.md derives it.
 */
export function latencyAt(rate: number, { curve, batchSize, concurrency, delay }: Replica): number {
  // A partial batch may wait for ever, however many replicas there are.
  if (delay === Infinity) return Infinity;
  const { perInput, perBatch, deviation } = curve;
  const run = (size: number): number => (size === 0 ? 0 : perInput * size) + perBatch;
  // What arrives while all slots are busy is the next batch: m = rate · s(m) with one slot. Several neither
  // become free all at once, nor at even intervals, which would be m = rate · s(m) / c.
  const share = rate / Math.sqrt(concurrency);
  const load = share * perInput;
  const grown = load < 1 ? (share * perBatch) / (1 - load) : Infinity;
  const size = Math.min(batchSize, Math.max(1, grown, rate * delay));
  // Sizes vary as a Poisson number does, and a larger batch lets the next one grow, too.
  const spread = perInput * Math.sqrt(size / (1 - Math.min(load, 0.99) ** 2));
  const longest = Math.min(run(size) + Z * spread, run(Math.min(batchSize, Number.MAX_SAFE_INTEGER)));
  const untilFree = (1 + 1 / concurrency) / 2;
  const wait = Math.max(delay, untilFree * longest);
  const noise = Z * deviation * Math.sqrt(1 + untilFree ** 2);
  return wait + longest + noise + backlogAt(rate, run, batchSize, concurrency);
}

/**
 * The p99 of the wait behind earlier full batches. The number of inputs that a full batch leaves over falls
 * off exponentially, by θ per input with ρ (e^θ − 1) = θ; this is its solution to the third order.
 */
function backlogAt(
  rate: number,
  run: (size: number) => number,
  batchSize: number,
  concurrency: number,
): number {
  if (batchSize === Infinity) return 0;
  const perInput = run(batchSize) / concurrency / batchSize;
  const utilization = rate * perInput;
  if (utilization >= 1) return Infinity;
  const decay = 1.5 * (Math.sqrt(1 + (8 / 3) * (1 / utilization - 1)) - 1);
  return (perInput * TAIL) / decay;
}

/**
 * @param aim milliseconds below which the p99 of the latency is to stay
 * @returns the largest rate of inputs per millisecond at which it does; `Infinity` if no rate is too high
 */
export function capacityFor(aim: number, replica: Replica): number {
  if (replica.concurrency === Infinity) return Infinity;
  const reachable = Math.max(aim, leastAim(replica));
  let low = 0;
  let high = HEADROOM * limitOf(replica);
  if (high === Infinity) return Infinity;
  for (let step = 0; step < STEPS; step++) {
    const middle = (low + high) / 2;
    if (latencyAt(middle, replica) <= reachable) low = middle;
    else high = middle;
  }
  return low;
}

/** The smallest aim in milliseconds that replicas hold at a load worth having. */
export function leastAim(replica: Replica): number {
  return LEAST * latencyAt(0, replica);
}

/** Inputs per millisecond with full batches. */
function limitOf({ curve: { perInput, perBatch }, batchSize, concurrency }: Replica): number {
  const perBatchInput = batchSize === Infinity ? 0 : perBatch / batchSize;
  const time = perInput + perBatchInput;
  return time === 0 ? Infinity : concurrency / time;
}
