/** Names of the policies. */
export type Dispatch = 'fixed' | 'eager';

/**
 * Why a batch left. `size`: it was full. `delay`: its oldest input had waited `maxDelay`. `idle`: a slot was free and
 * waiting did not pay. `drain`: the queue is being emptied.
 */
export type DispatchReason = 'size' | 'delay' | 'idle' | 'drain';

/** What a policy may look at. All moments are milliseconds of one monotonic clock. */
export interface QueueView {
  readonly batchSize: number;
  readonly maxDelay: number;
  /** Inputs waiting: at least one, and fewer than a full batch. */
  readonly waiting: number;
  /** When the input that has waited longest was submitted. */
  readonly oldest: number;
}

/**
 * Decides when a batch that is not full leaves. The queue asks it in one place only, when a slot is free and something
 * waits; full batches and draining are none of its business.
 */
export interface DispatchPolicy {
  /** The moment to leave, if nobody joins before; at or before `now`: leave now. */
  leaveAt(queue: QueueView, now: number): number;
  /** Why, for a batch that leaves at that moment. */
  readonly reason: DispatchReason;
}

/** The reference's rule: wait for a full batch, but nobody longer than `maxDelay`. */
export const fixed: DispatchPolicy = {
  reason: 'delay',
  leaveAt: ({ oldest, maxDelay }) => oldest + maxDelay,
};

/** Never wait while a slot is free. Batches form from what comes in while all slots are busy. */
export const eager: DispatchPolicy = {
  reason: 'idle',
  leaveAt: (_queue, now) => now,
};

export const policies: Record<Dispatch, DispatchPolicy> = { fixed, eager };
