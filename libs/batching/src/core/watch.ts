import type { DispatchReason } from './dispatch/dispatch-policy.js';

/** A batch as an observer sees it; the same object when it leaves and when it ends. */
export interface ObservedBatch {
  /** Its number among the batches of its queue, from 1, in the order in which they left. */
  readonly number: number;
  readonly size: number;
  readonly reason: DispatchReason;
  /** When it left, on the queue's clock; so are all moments here. */
  readonly leftAt: number;
  /** When its oldest input was submitted. */
  readonly oldest: number;
  /** Its inputs, in a chain, with when each was submitted. */
  readonly first: ObservedInput;
  /** Callers that have their result, complete when the batch ends. */
  readonly results: number;
  /** Of the others, those whose signal aborted while the batch ran. */
  readonly aborted: number;
}

interface ObservedInput {
  readonly turn: { readonly at: number };
  readonly next: ObservedInput | undefined;
}

/** Is shown every batch twice, as long as it watches a queue. */
export interface BatchObserver {
  left(batch: ObservedBatch): void;
  /** @param ran milliseconds that its run took */
  ended(batch: ObservedBatch, ran: number): void;
}
