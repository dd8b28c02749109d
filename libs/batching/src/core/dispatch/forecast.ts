import type { ServiceTime } from './service-time.js';

/** What stands before an input that comes now. */
export interface Backlog {
  readonly batchSize: number;
  readonly concurrency: number;
  /** Inputs that wait and leave before it. */
  readonly ahead: number;
  /** Batches that run. */
  readonly running: ReadonlySet<{ readonly leftAt: number; readonly size: number }>;
}

/** Milliseconds until it would leave, by the run times learned: the rest of the batch that ends first, and those ahead. */
export function expectedWait(
  { batchSize, concurrency, ahead, running }: Backlog,
  serviceTime: ServiceTime,
  now: number,
): number {
  const batchesAhead = Math.floor(ahead / batchSize);
  const rest = untilSlot(running, concurrency, serviceTime, now);
  // None of them where batches have no bound: the run time of one without a bound is no number.
  return batchesAhead === 0 ? rest : rest + (batchesAhead * serviceTime.of(batchSize)) / concurrency;
}

/** Milliseconds until one of `slots` is free, by the run times learned; `Infinity` if there is none at all. */
export function untilSlot(
  running: Backlog['running'],
  slots: number,
  serviceTime: ServiceTime,
  now: number,
): number {
  if (running.size < slots) return 0;
  let until = Infinity;
  for (const { leftAt, size } of running) {
    until = Math.min(until, Math.max(0, leftAt + serviceTime.of(size) - now));
  }
  return until;
}

/**
 * By how many milliseconds it would miss its timeout; at most 0 if it can be served in time.
 *
 * The runs may all take somewhat longer than expected. Who comes just in time by the mean is late every other time, and
 * its run is then wasted; under overload there is always another to take instead. So the forecast allows for four mean
 * deviations, as TCP does for its retransmissions (RFC 6298), which add up like those of independent runs.
 *
 * What would leave at once, into a slot that is free, is never late, nor is anything for a queue that has learned
 * nothing yet: if it refused, it would never learn that it has become faster. For the same reason what has been learned
 * counts for less and less while no batch ends.
 */
export function lateness(backlog: Backlog, timeout: number, serviceTime: ServiceTime, now: number): number {
  const { batchSize, concurrency, ahead, running } = backlog;
  const free = concurrency - running.size;
  if (free > 0 && ahead < free * batchSize) return 0;
  const own = serviceTime.of(Math.min(batchSize, ahead + 1));
  const runs = Math.floor(ahead / batchSize) / concurrency + 2;
  const margin = 4 * serviceTime.deviation * Math.sqrt(runs);
  return (expectedWait(backlog, serviceTime, now) + own + margin) * serviceTime.trust(now) - timeout;
}
