/** Many answers in one message: before each its length, u32. */
export function joinAnswers(answers: readonly Buffer[]): Buffer {
  const bytes = Buffer.allocUnsafe(answers.reduce((sum, { length }) => sum + LENGTH + length, 0));
  let at = 0;
  for (const answer of answers) {
    at = bytes.writeUInt32BE(answer.length, at);
    bytes.set(answer, at);
    at += answer.length;
  }
  return bytes;
}

/** Bytes before each answer. */
export const LENGTH = 4;

/** Anybody may publish on the subject, so what is cut off is left out. */
export function* splitAnswers(bytes: Buffer): Generator<Buffer> {
  let at = 0;
  while (at + LENGTH <= bytes.length) {
    const start = at + LENGTH;
    at = start + bytes.readUInt32BE(at);
    if (at > bytes.length) return;
    yield bytes.subarray(start, at);
  }
}
