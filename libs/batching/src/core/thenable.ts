import { types } from 'node:util';

/** Whether `await` would wait for it. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' ? typeof value !== 'function' : value === null) return false;
  return typeof (value as Partial<PromiseLike<unknown>>).then === 'function';
}

/**
 * Keeps a promise that is not used from ending the process when it rejects. `then` of other thenables is not
 * called.
 */
export async function ignoreRejection(value: unknown): Promise<void> {
  try {
    if (types.isPromise(value)) await value;
  } catch {
    // The caller has got another error already.
  }
}

/** The same for each place of results that are not used. */
export function ignoreRejections(results: ArrayLike<unknown>): void {
  for (const result of Array.from(results)) void ignoreRejection(result);
}
