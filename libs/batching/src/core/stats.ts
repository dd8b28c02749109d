import type { DispatchReason } from './dispatch/dispatch-policy.js';
import type { Summary } from './distribution.js';
import type { PublicOptions } from './options.js';

/**
 * Why an input was dropped, so never ran. `aborted`: its signal aborted. `timeout`: its timeout expired, or
 * could not be met. `full`: the queue was full. `stopped`: the queue was stopped.
 */
export type DropReason = 'aborted' | 'timeout' | 'full' | 'stopped';

/** `created`: not started, inputs only wait. `stopping`: takes no more inputs, and runs those it has. */
export type QueueState = 'created' | 'started' | 'stopping' | 'stopped';

/**
 * The state of a queue at one moment. Counts of inputs and batches start when the queue is built. At any
 * moment `submitted = settled + dropped + waiting + running` and `settled = results + errors`. Where
 * callers share an input (`coalesce`), these counts and `blocked` are of callers; sizes, times and reports of
 * batches are of inputs.
 */
export interface QueueStats {
  name: string;
  state: QueueState;
  /** The present settings. */
  options: PublicOptions;
  /** Inputs submitted, refused ones included; not those that still wait for room (`blocked`). */
  submitted: number;
  /** Of these, callers that joined the input of another caller with the same key (`coalesce`). */
  coalesced: number;
  /** Inputs that ran and ended in a result or an error. */
  settled: number;
  /** Inputs that ran and ended in a result. */
  results: number;
  /** Inputs that ran and ended in an error. */
  errors: number;
  /** Inputs that were dropped, so never ran. */
  dropped: number;
  /** The same by reason. */
  drops: Record<DropReason, number>;
  /** Inputs that wait now. */
  waiting: number;
  /** Inputs in the batches that run now, except those that have ended. */
  running: number;
  /** Inputs that now wait for room in a full queue (`onFull: 'wait'`). */
  blocked: number;
  /** Batches that left. */
  batches: number;
  /** The same by reason. */
  dispatches: Record<DispatchReason, number>;
  /** Batches that run now. */
  runningBatches: number;
  /** Inputs per batch as it left, in the last one to two minutes. */
  batchSizes: Summary;
  /** Milliseconds from submission until the batch left, per input, in the last one to two minutes. */
  waitTime: Summary;
  /** Milliseconds that the batch function took, per batch, in the last one to two minutes. */
  runTime: Summary;
}

/** What a queue keeps distributions of; see `QueueStats` for each. */
export type Measure = 'batchSizes' | 'waitTime' | 'runTime';

/** A batch that has ended, as listeners of `onBatch` get it. */
export interface BatchReport {
  /** Name of the queue. */
  queue: string;
  /** Inputs in the batch when it left. */
  size: number;
  /** Why it left. */
  reason: DispatchReason;
  /** Milliseconds that its oldest input had waited. */
  waited: number;
  /** Milliseconds that the batch function took. */
  ran: number;
  /** Callers that got a result. */
  results: number;
  /** Callers that got an error, including those whose signal or timeout ended the input while it ran. */
  errors: number;
  /**
   * What the batch failed with as a whole: what its function threw, a `BatchTimeoutError` or a
   * `BatchResultError`. The property is there only if it did. An error in one input's place is none, and with
   * `isolateErrors` an error of the function neither.
   */
  error?: unknown;
}
