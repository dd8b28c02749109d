import { AdaptivePolicy } from './adaptive-policy.js';
import {
  type Dispatch,
  type DispatchPolicy,
  type DispatchReason,
  eager,
  fixed,
  type Plan,
  type QueueView,
} from './dispatch-policy.js';

/** What a decision depends on, beside the policy: a queue at a moment when a slot is free and something waits. */
export interface View<Group> extends QueueView {
  /** The inputs that may share the next batch. */
  readonly group: Group;
  /** Whether the next batch is as full as it can get. */
  readonly isFull: boolean;
  readonly isDraining: boolean;
  /** Moments up to this one count as reached: `now`, or the deadline of an alarm that rang a little early. */
  readonly reached: number;
}

/** A batch of the group leaves now. */
export interface Departure<Group> {
  readonly group: Group;
  readonly reason: DispatchReason;
}

/** The one decision: whether a batch leaves now, or when to look again. Pure: it changes neither queue nor policy. */
export function decide<Group>(
  view: View<Group>,
  policy: DispatchPolicy,
  now: number,
): Departure<Group> | Pick<Plan, 'at'> {
  const { group, isFull, isDraining, reached } = view;
  if (isFull) return { group, reason: 'size' };
  if (isDraining) return { group, reason: 'drain' };
  const { at, reason } = policy.plan(view, now);
  return at <= reached ? { group, reason } : { at };
}

/** Whether the decision is the policy's, so that it shall hear of it before it is asked. */
export function isOpen({ isFull, isDraining }: View<unknown>): boolean {
  return !isFull && !isDraining;
}

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
