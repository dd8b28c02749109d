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
  /** Inputs that may share the batch: at least one, and fewer than a full batch. */
  readonly waiting: number;
  /** Inputs that wait, too, but may not share this batch: those of other groups. */
  readonly others: number;
  /** When the input that has waited longest was submitted. */
  readonly oldest: number;
  /** Milliseconds that a batch of so many inputs is expected to take; 0 while nothing is known. */
  readonly serviceTime: (size: number) => number;
  /** Milliseconds until another slot than that of this batch is expected to be free: 0 if one is, `Infinity` if there is none. */
  readonly untilOtherSlot: number;
}

/** When a batch leaves, if no input joins it before, and why it leaves then. */
export interface Plan {
  /** At or before now: it leaves now. */
  readonly at: number;
  readonly reason: DispatchReason;
}

/**
 * Decides when a batch that is not full leaves. It is asked in one place only, `decide`, when a slot is free and
 * something waits; full batches and draining queues leave without it.
 *
 * `plan` is a query: asked twice it gives the same answer, and changes nothing. What a policy may learn from comes as
 * events, in the order of the moments.
 */
export interface DispatchPolicy {
  plan(queue: QueueView, now: number): Plan;
  /** The queue looks at a batch that is not full while a slot is free, and asks for its plan next. */
  opened?(queue: QueueView, now: number): void;
  /**
   * `count` inputs have come; `waiting` includes them.
   *
   * @param since the earliest moment at which they can have come: when the sockets were read before
   */
  arrived?(count: number, waiting: number, slotFree: boolean, now: number, since: number): void;
  /** A batch of `size` inputs has left. */
  left?(size: number, now: number): void;
  /** A batch of `size` inputs has ended. */
  ended?(now: number, size: number): void;
}

/** The rule of the reference (docs/contract.md): wait for a full batch, but no input longer than `maxDelay`. */
export const fixed: DispatchPolicy = {
  plan: ({ oldest, maxDelay }) => ({ at: oldest + maxDelay, reason: 'delay' }),
};

/** Never wait while a slot is free. Batches form from what comes in while all slots are busy. */
export const eager: DispatchPolicy = {
  plan: (_queue, now) => ({ at: now, reason: 'idle' }),
};
