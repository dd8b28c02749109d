/** The names of the dispatch policies; `QueueOptions.dispatch` describes them. */
export type Dispatch = 'adaptive' | 'fixed' | 'eager';

/**
 * Why a batch left. `size`: it was as full as it could get. `delay`: its oldest input had waited `maxDelay`.
 * `idle`: a slot was free and waiting longer did not pay. `drain`: a drain or a stop was waiting for its
 * inputs.
 */
export type DispatchReason = 'size' | 'delay' | 'idle' | 'drain';

/** What a policy knows of the queue. All moments are milliseconds of one monotonic clock. */
export interface QueueSnapshot {
  readonly batchSize: number;
  readonly maxDelay: number;
  /** Inputs that may share the batch: at least one, and fewer than a full batch. */
  readonly waiting: number;
  /** Waiting inputs of other groups, which may not share the batch. */
  readonly others: number;
  /** When the oldest of the `waiting` inputs was submitted. */
  readonly oldest: number;
  /** Milliseconds that a batch of this size is expected to take; 0 while nothing is known. */
  readonly serviceTime: (size: number) => number;
  /**
   * Milliseconds until a second slot is expected to be free; 0 if one is, `Infinity` if the queue has only
   * one slot.
   */
  readonly untilOtherSlot: number;
}

/** When the batch leaves if no more inputs come, and the reason. */
export interface Plan {
  /** If this moment is reached already, the batch leaves now. */
  readonly at: number;
  readonly reason: DispatchReason;
}

/**
 * Decides when a partial batch leaves. Called by `decide` only, when a slot is free and inputs wait; a full
 * batch, or one that a drain waits for, leaves without it.
 *
 * `plan` changes nothing: two calls with the same arguments return the same plan. A policy learns from the
 * other methods, which are called for every event, in the order of time.
 */
export interface DispatchPolicy {
  plan(queue: QueueSnapshot, now: number): Plan;
  /** Called before `plan`, whenever the queue considers a partial batch while a slot is free. */
  opened?(queue: QueueSnapshot, now: number): void;
  /**
   * `count` inputs have been taken in.
   *
   * @param waiting all inputs that wait now, these included
   * @param since the earliest moment at which they can have come: `now`, or, if a batch function blocked the
   *   event loop until now, the moment at which its batch left
   */
  arrived?(count: number, waiting: number, slotFree: boolean, now: number, since: number): void;
  /** A batch of `size` inputs has left. */
  left?(size: number, now: number): void;
  /** A batch of `size` inputs has ended. */
  ended?(now: number, size: number): void;
  /**
   * Whether the queue reads the sockets before it answers the callers of a batch that blocked the event loop.
   * The inputs that came while it ran are then known before `ended`, and apart from those that the answered
   * callers submit next. Default: `false`.
   */
  readonly looksBeforeAnswers?: boolean;
}

/**
 * Waits for a full batch, but lets no input wait longer than `maxDelay`: the rule of the reference
 * (docs/contract.md).
 */
export const fixed: DispatchPolicy = {
  plan: ({ oldest, maxDelay }) => ({ at: oldest + maxDelay, reason: 'delay' }),
};

/** Never waits while a slot is free. Batches form from the inputs that come while all slots are busy. */
export const eager: DispatchPolicy = {
  plan: (_queue, now) => ({ at: now, reason: 'idle' }),
};
