import { types } from 'node:util';
import type { BatchFunction } from '../batch-function.js';
import { show } from '../checks.js';
import { BatchResultError } from '../errors.js';
import { ignoreRejections } from '../thenable.js';
import { type Run, UserContext } from './run.js';

/**
 * The innermost layer: calls the user's batch function, and rejects with a `BatchResultError` if it returns
 * anything but an array or a typed array with one result per input.
 */
export function checked<Input, Result>(
  batchFunction: BatchFunction<Input, Result>,
  queue: string,
): Run<Input> {
  return async (inputs, batch) => {
    // Read before the call: the function may change the array.
    const { length } = inputs;
    const results: unknown = await batchFunction(inputs, new UserContext(batch));
    const list: ArrayLike<unknown> | undefined =
      Array.isArray(results) || types.isTypedArray(results) ? results : undefined;
    if (!list) throw new BatchResultError(queue, length, show(results));
    if (list.length !== length) {
      ignoreRejections(list);
      throw new BatchResultError(queue, length, `${list.length} results`);
    }
    return list;
  };
}
