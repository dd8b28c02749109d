import { types } from 'node:util';
import type { KeyedBatchFunction } from '../batch-function.js';
import { show } from '../checks.js';
import { BatchResultError, MissingResultError } from '../errors.js';
import { ignoreRejection, ignoreRejections } from '../thenable.js';
import { type Run, type Underway, UserContext } from './run.js';

export interface CheckOptions {
  /** Name of the queue. */
  readonly name: string;
  /** If there is one, inputs have keys and a `Map` is valid. */
  readonly keyBy?: unknown;
  /** What an input gets whose key is not in the `Map`. */
  readonly missing: 'reject' | 'undefined';
}

/**
 * The innermost layer: calls the user's batch function, and rejects with a `BatchResultError` if it returns
 * anything but an array or a typed array with one result per input, or, with `keyBy`, a `Map` by key.
 */
export function checked<Input, Result>(
  batchFunction: KeyedBatchFunction<Input, Result>,
  { name, keyBy, missing }: CheckOptions,
): Run<Input> {
  return async (inputs, batch) => {
    // Read before the call: the function may change the array.
    const { length } = inputs;
    const results: unknown = await batchFunction(inputs, new UserContext(batch));
    if (types.isMap(results) && keyBy) {
      return byKey(results, length, batch, (key) =>
        missing === 'undefined' ? undefined : new MissingResultError(name, key),
      );
    }
    const list: ArrayLike<unknown> | undefined =
      Array.isArray(results) || types.isTypedArray(results) ? results : undefined;
    if (!list) {
      const hint = types.isMap(results) ? ', which needs keyBy' : '';
      throw new BatchResultError(name, length, show(results) + hint);
    }
    if (list.length !== length) {
      ignoreRejections(list);
      throw new BatchResultError(name, length, `${list.length} results`);
    }
    return list;
  };
}

/** @returns the results of a `Map`, in the order of the inputs */
function byKey(
  results: ReadonlyMap<unknown, unknown>,
  length: number,
  batch: Underway,
  missing: (key: unknown) => unknown,
): unknown[] {
  // Some may be for keys that no input has; those for the others are handled twice.
  for (const result of results.values()) if (types.isPromise(result)) void ignoreRejection(result);
  return Array.from({ length }, (_, index) => {
    const key = batch.keyOf(index);
    return results.has(key) ? results.get(key) : missing(key);
  });
}
