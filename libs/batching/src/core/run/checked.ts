import type { BatchFunction } from '../batch-function.js';
import { show } from '../checks.js';
import { BatchResultError } from '../errors.js';
import { ignoreRejection } from '../thenable.js';
import { type Run, UserContext } from './run.js';

/**
 * The innermost layer: calls the user's batch function, and rejects with a `BatchResultError` what is no array of one place
 * per input.
 */
export function checked<Input, Result>(
  batchFunction: BatchFunction<Input, Result>,
  queue: string,
): Run<Input> {
  return async (inputs, batch) => {
    // Before: the array belongs to the function, which may empty it.
    const { length } = inputs;
    const results: unknown = await batchFunction(inputs, new UserContext(batch));
    if (!Array.isArray(results)) throw new BatchResultError(queue, length, show(results));
    if (results.length !== length) {
      for (const result of results) void ignoreRejection(result);
      throw new BatchResultError(queue, length, `${results.length} results`);
    }
    return results as readonly unknown[];
  };
}
