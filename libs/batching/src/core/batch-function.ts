/** What a batch function gets beside the inputs. */
export interface BatchContext {
  /** Aborted when every caller of the batch has gone, when its `runTimeout` is over, and on a hard stop. */
  readonly signal: AbortSignal;
}

/**
 * Turns the inputs of one batch into their results: one result per input, in the same order.
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
) => PromiseLike<readonly InPlace<Result>[]> | readonly InPlace<Result>[];

/** What may stand in a result's place. */
type InPlace<Result> = Result | Error | PromiseLike<Result | Error>;
