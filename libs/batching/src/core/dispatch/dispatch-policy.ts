import { AdaptivePolicy } from './adaptive-policy.js';

/** Names of the policies. */
export type Dispatch = 'adaptive' | 'fixed' | 'eager';

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
  /** Inputs that wait, too, but may not share this batch: those of other groups. */
  readonly others: number;
  /** When the input that has waited longest was submitted. */
  readonly oldest: number;
  /** Milliseconds that a batch of so many inputs is expected to take; 0 while nothing is known. */
  readonly serviceTime: (size: number) => number;
  /** Milliseconds until another slot is expected to be free than that of this batch: 0 if one is, `Infinity` if there is none. */
  readonly untilOtherSlot: number;
}

/**
 * Decides when a batch that is not full leaves. The queue asks it in one place only, when a slot is free and something
 * waits; full batches and draining are none of its business. What it may learn from, it is told.
 */
export interface DispatchPolicy {
  /** The moment to leave, if nobody joins before; at or before `now`: leave now. */
  leaveAt(queue: QueueView, now: number): number;
  /** Why, for a batch that leaves at that moment. */
  readonly reason: DispatchReason;
  /** `count` inputs have come; `waiting` counts them too. */
  arrived?(count: number, waiting: number, slotFree: boolean, now: number): void;
  /** A batch has left. */
  left?(): void;
  /** A batch has ended. */
  ended?(now: number): void;
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

export function createPolicy(dispatch: Dispatch): DispatchPolicy {
  switch (dispatch) {
    case 'adaptive':
      return new AdaptivePolicy();
    case 'fixed':
      return fixed;
    case 'eager':
      return eager;
  }
}
