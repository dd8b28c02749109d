/** The second argument of a batch function. */
export interface BatchContext {
  /** Aborts when all callers of the batch have given up, when `runTimeout` expires, and on a hard stop. */
  readonly signal: AbortSignal;
}

/**
 * Turns the inputs of one batch into their results: one result per input, in the same order, as an array or,
 * if they are numbers, as a typed array.
 *
 * A thrown error rejects all callers of the batch, unchanged. An `Error` in a result's place rejects that
 * caller alone. A promise in a result's place settles that caller's promise as soon as it settles itself. The
 * run ends, its slot becomes free and `runTimeout` stops counting, when all of these promises have settled.
 *
 * The array of inputs is new for every run; the function may change it. The second argument is always passed;
 * its `signal` aborts when no caller waits for the results any more.
 */
export type BatchFunction<Input, Result> = (
  inputs: Input[],
  batch: BatchContext,
) => PromiseLike<Results<Result>> | Results<Result>;

/**
 * A batch function of a queue with `keyBy`: it may also return a `Map` from the keys of its inputs to their
 * results. An `Error` or a promise as a value of the `Map` is treated as in a result's place. Keys of no
 * input are ignored.
 */
export type KeyedBatchFunction<Input, Result> = (
  inputs: Input[],
  batch: BatchContext,
) => PromiseLike<KeyedResults<Result>> | KeyedResults<Result>;

type KeyedResults<Result> = Results<Result> | Map<unknown, InPlace<Result>>;

/** One result per input: an array, or a typed array of numbers. */
type Results<Result> = readonly InPlace<Result>[] | TypedArray<Result>;

/**
 * Has only members that an array lacks, so that the compiler does not infer `Result` of a plain array from
 * it.
 */
export interface TypedArray<Element> {
  readonly BYTES_PER_ELEMENT: number;
  subarray(): ArrayLike<Element>;
}

/** What may stand in a result's place. */
type InPlace<Result> = Result | Error | PromiseLike<Result | Error>;
