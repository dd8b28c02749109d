import { AdaptivePolicy } from './adaptive-policy.js';
import {
  type Dispatch,
  type DispatchPolicy,
  type DispatchReason,
  eager,
  fixed,
  type Plan,
  type QueueSnapshot,
} from './dispatch-policy.js';

/**
 * What a decision depends on, beside the policy: the queue at a moment when a slot is free and inputs wait.
 */
export interface Snapshot<Group> extends QueueSnapshot {
  /** The group of the next batch. */
  readonly group: Group;
  /** Whether the next batch is as full as it can get. */
  readonly isFull: boolean;
  /** Whether a drain waits for the oldest input of the group. */
  readonly isDraining: boolean;
  /** Moments up to this one count as reached: `now`, or the deadline of an alarm that rang early. */
  readonly reached: number;
}

/** A batch of the group leaves now. */
export interface Departure<Group> {
  readonly group: Group;
  readonly reason: DispatchReason;
}

/**
 * Decides whether a batch leaves now. Pure: changes neither the queue nor the policy.
 *
 * @returns the departure, or the moment at which to decide again
 */
export function decide<Group>(
  snapshot: Snapshot<Group>,
  policy: DispatchPolicy,
  now: number,
): Departure<Group> | Pick<Plan, 'at'> {
  const { group, isFull, isDraining, reached } = snapshot;
  if (isFull) return { group, reason: 'size' };
  if (isDraining) return { group, reason: 'drain' };
  const { at, reason } = policy.plan(snapshot, now);
  return at <= reached ? { group, reason } : { at };
}

/**
 * Whether the policy decides: neither a full batch nor a drain does. Its `opened` is called before `decide`
 * then.
 */
export function isOpen({ isFull, isDraining }: Snapshot<unknown>): boolean {
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
