import type { TensorValues } from './batch-layout.js';

/** The states of the streams of one batch, which stay in the worker: it knows them by numbers. */
export interface BatchStates {
  /** For each input of the batch, the state before its step. */
  before: readonly StateBefore[];
  /** For each, the number under which the worker keeps the state after it. No number is used twice. */
  after: readonly number[];
  /** States that the worker drops before it runs the batch. */
  dropped: readonly number[];
}

/**
 * The number of a state that the worker keeps; or the first state of a stream: its tensors, in the order of the
 * model's inputs, or `undefined` for zeros.
 */
export type StateBefore = number | readonly TensorValues[] | undefined;
