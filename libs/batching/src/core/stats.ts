import type { DispatchReason } from './dispatch/dispatch-policy.js';
import type { Summary } from './distribution.js';
import type { PublicOptions } from './options.js';

/** Why an input left without running. */
export type DropReason = 'aborted' | 'timeout' | 'full' | 'stopped';

/** `created`: not started yet, inputs only wait. `stopping`: takes no more, runs what it has. */
export type QueueState = 'created' | 'started' | 'stopping' | 'stopped';

/**
 * A queue at one moment. Counts are since it was built, and at any moment
 * `submitted = settled + dropped + waiting + running` and `settled = results + errors`.
 */
export interface QueueStats {
  name: string;
  state: QueueState;
  /** The settings in force. */
  options: PublicOptions;
  /** Inputs that came, refused ones included; not those whose caller still waits for room (`blocked`). */
  submitted: number;
  /** Inputs that ran and ended in a result or an error. */
  settled: number;
  results: number;
  errors: number;
  /** Inputs that left without running. */
  dropped: number;
  drops: Record<DropReason, number>;
  waiting: number;
  running: number;
  /** Callers that wait for room in a full queue (`onFull: 'wait'`). */
  blocked: number;
  /** Batches that left, and why. */
  batches: number;
  dispatches: Record<DispatchReason, number>;
  /** Batches running now, at most `concurrency`. */
  runningBatches: number;
  /** Inputs per batch as it left, in the last one to two minutes. */
  batchSizes: Summary;
  /** Milliseconds from submission until the batch left, per input, in the last one to two minutes. */
  waitTime: Summary;
  /** Milliseconds that the batch function took, per batch, in the last one to two minutes. */
  runTime: Summary;
}

/** One batch that has ended, as the listeners of `onBatch` get it. */
export interface BatchReport {
  /** Name of the queue. */
  queue: string;
  /** Inputs in it when it left. */
  size: number;
  reason: DispatchReason;
  /** Milliseconds that its oldest input had waited. */
  waited: number;
  /** Milliseconds that the batch function took. */
  ran: number;
  /** Callers that got a result. */
  results: number;
  /** Callers that got an error, including those that gave up while it ran. */
  errors: number;
}
