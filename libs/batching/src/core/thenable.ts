import { types } from 'node:util';

/** Whether `await` would wait for it. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' ? typeof value !== 'function' : value === null) return false;
  return typeof (value as Partial<PromiseLike<unknown>>).then === 'function';
}

/** A promise that is not wanted must not end the process when it rejects. Other thenables are not even started. */
export async function ignoreRejection(value: unknown): Promise<void> {
  try {
    if (types.isPromise(value)) await value;
  } catch {
    // Its caller has another error already.
  }
}

/** The same for each place of an answer that is not used. */
export function ignoreRejections(results: ArrayLike<unknown>): void {
  for (const result of Array.from(results)) void ignoreRejection(result);
}
