import type { ServiceTime } from './service-time.js';

/** The work before an input that is submitted now. */
export interface Backlog {
  readonly batchSize: number;
  readonly concurrency: number;
  /** Waiting inputs that leave before it. */
  readonly ahead: number;
  /** Batches that run now. */
  readonly running: ReadonlySet<{ readonly leftAt: number; readonly size: number }>;
}

/**
 * Expected milliseconds until the input would leave, by recent run times: the rest of the batch that ends
 * first, and the runs of the batches ahead.
 */
export function expectedWait(
  { batchSize, concurrency, ahead, running }: Backlog,
  serviceTime: ServiceTime,
  now: number,
): number {
  const batchesAhead = Math.floor(ahead / batchSize);
  const rest = untilSlot(running, concurrency, serviceTime, now);
  // With an unbounded `batchSize` no batch is ahead, and the run time of one of infinite size would be NaN.
  return batchesAhead === 0 ? rest : rest + (batchesAhead * serviceTime.of(batchSize)) / concurrency;
}

/**
 * Expected milliseconds until one of `slots` is free, by recent run times; `Infinity` if there are no slots.
 */
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
 * Expected milliseconds by which the input would miss its timeout; ≤ 0 if it is expected in time.
 *
 * Run times vary: an input that is in time by the mean is late about every other time, and then its run is
 * wasted, while under overload other inputs could use it. So the forecast adds a margin of four mean
 * deviations, as TCP does for its retransmission timeout (RFC 6298); over several runs it grows with the
 * square root, as for independent runs.
 *
 * An input that would leave at once, into a free slot, is never late, nor is any input while nothing is known
 * of run times: a queue that refused them would never learn that it has become faster. For the same reason
 * the forecast counts for less and less while no batch ends (`ServiceTime.trust`).
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
