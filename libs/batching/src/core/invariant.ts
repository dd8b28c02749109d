/**
 * Ends what is being done where the queue's own books do not agree: going on would give a caller another's result, or none.
 *
 * @throws Error with the sentence, which says what must never be
 */
export function invariant(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new Error(`nest-batching is broken, please report this: ${sentence}`);
}
