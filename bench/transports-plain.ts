/*
 * What the plain loops over Redis and NATS write, and how they read it:
 *
 *     input:  process id u32 │ number u32 │ bytes        answers:  (number u32 │ result u32)…
 */

/** Bytes of a message before its input. */
const HEAD = 8;

export function toMessage(number: number, input: Uint8Array): Buffer {
  const message = Buffer.allocUnsafe(HEAD + input.length);
  message.writeUInt32BE(process.pid, 0);
  message.writeUInt32BE(number, 4);
  message.set(input, HEAD);
  return message;
}

export function inputOf(message: Buffer): Uint8Array {
  return Uint8Array.prototype.slice.call(message, HEAD);
}

/** @returns the answers for each caller, by its process id */
export function answersByCaller(
  messages: readonly Buffer[],
  results: readonly number[],
): Map<number, Buffer> {
  const ofCallers = new Map<number, number[]>();
  messages.forEach((message, index) => {
    const caller = message.readUInt32BE(0);
    const numbers = [message.readUInt32BE(4), results[index] ?? 0];
    const others = ofCallers.get(caller);
    if (others) others.push(...numbers);
    else ofCallers.set(caller, numbers);
  });
  return new Map(
    Array.from(ofCallers, ([caller, numbers]) => {
      const answers = Buffer.allocUnsafe(4 * numbers.length);
      numbers.forEach((number, index) => answers.writeUInt32BE(number, 4 * index));
      return [caller, answers];
    }),
  );
}

export function settle(answers: Buffer, waiting: Map<number, (result: number) => void>): void {
  for (let at = 0; at + 8 <= answers.length; at += 8) {
    const number = answers.readUInt32BE(at);
    waiting.get(number)?.(answers.readUInt32BE(at + 4));
    waiting.delete(number);
  }
}
