import type { BatchContext } from '../batch-function.js';
import { isThenable } from '../thenable.js';

/**
 * Runs a batch: an array of one place per input, or an error of the whole batch. An `Error`, or a promise, in a place is
 * its own caller's alone. Layers take one of these and return another; the innermost calls the user's function.
 */
export type Run<Input> = (inputs: Input[], batch: Underway) => Promise<ArrayLike<unknown>>;

/** A batch under way, as the layers see it. */
export interface Underway extends BatchContext {
  readonly isAborted: boolean;
  readonly abortReason: unknown;
  /** Gives the batch up as a whole; the first reason stands. */
  abort(reason: unknown): void;
  /** Whether the caller of the input at this index still waits for its result. */
  isAwaited(index: number): boolean;
}

/** What the user's function gets of a batch: nothing that the queue works with. */
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
 * What stands in a place; for a thenable a promise of this realm, and one that rejects where the place cannot be looked at.
 */
export function placeOf(results: ArrayLike<unknown>, index: number): unknown {
  try {
    const place = results[index];
    return isThenable(place) ? Promise.resolve(place) : place;
  } catch (error) {
    // As it was thrown, which need not be an Error.
    return Promise.reject(error); // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
  }
}
