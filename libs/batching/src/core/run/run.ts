import type { BatchContext } from '../batch-function.js';
import { isThenable } from '../thenable.js';

/**
 * Runs a batch. Resolves to one place per input: a result, or an `Error` or a promise, which concern that
 * input alone. Rejects with an error of the whole batch. A layer takes such a function and returns another;
 * the innermost calls the user's batch function.
 */
export type Run<Input> = (inputs: Input[], batch: Underway) => Promise<ArrayLike<unknown>>;

/** A batch under way, as the layers see it. */
export interface Underway extends BatchContext {
  readonly isAborted: boolean;
  readonly abortReason: unknown;
  /** Gives the batch up as a whole. Only the first call has an effect. */
  abort(reason: unknown): void;
  /** Whether the caller of the input at this index still waits for its result. */
  isAwaited(index: number): boolean;
  /** What `keyBy` gave for the input at this index; `undefined` without. */
  keyOf(index: number): unknown;
  /** Takes the result of the input at this index that came after its run was given up. */
  giveLate(index: number, result: unknown): void;
}

/** The `BatchContext` for the user's function: hides the rest of the batch from it. */
export class UserContext implements BatchContext {
  readonly #batch: BatchContext;

  constructor(batch: BatchContext) {
    this.#batch = batch;
  }

  get signal(): AbortSignal {
    return this.#batch.signal;
  }
}

/**
 * @returns the result at the index; a native promise if it is a thenable; a rejected promise if reading it
 *   throws
 */
export function placeOf(results: ArrayLike<unknown>, index: number): unknown {
  try {
    const place = results[index];
    return isThenable(place) ? Promise.resolve(place) : place;
  } catch (error) {
    // What was thrown need not be an Error.
    return Promise.reject(error); // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
  }
}
