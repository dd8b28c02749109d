/**
 * Asserts what the library relies on. A violation is a bug here: to go on could give a caller a wrong result,
 * or none.
 *
 * @param sentence says what must never be the case, for the message
 * @throws Error with the sentence, if the condition is false
 */
export function invariant(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new Error(`nest-batching is broken, please report this: ${sentence}`);
}
