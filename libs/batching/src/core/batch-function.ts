/** What a batch function gets beside the inputs. */
export interface BatchContext {
  /** Aborted when every caller of the batch has gone, when its `runTimeout` is over, and on a hard stop. */
  readonly signal: AbortSignal;
}

/**
 * Turns the inputs of one batch into their results: one result per input, in the same order, as an array or, if they are
 * numbers, as a typed array.
 *
 * An `Error` in a result's place rejects that caller alone; a thrown error rejects all callers of the batch, as it is.
 * A promise in a result's place is awaited as part of its batch: its caller gets what it resolves to as soon as it does,
 * or alone what it rejects with; the slot is free, and `runTimeout` met, when all have settled.
 *
 * The array of inputs is new for every batch and belongs to the function. The second argument is always passed, and new
 * for every run: `signal` aborts when no caller waits for the results any more.
 */
export type BatchFunction<Input, Result> = (
  inputs: Input[],
  batch: BatchContext,
) => PromiseLike<Results<Result>> | Results<Result>;

/** One result per input: an array, or a typed array of numbers. */
type Results<Result> = readonly InPlace<Result>[] | TypedArray<Result>;

/** By what an array does not have, so that the compiler learns nothing of the type of a result from that. */
export interface TypedArray<Element> {
  readonly BYTES_PER_ELEMENT: number;
  subarray(): ArrayLike<Element>;
}

/** What may stand in a result's place. */
type InPlace<Result> = Result | Error | PromiseLike<Result | Error>;
