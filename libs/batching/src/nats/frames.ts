/** The bytes of a message as a `Buffer` over the same memory. */
export function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** JSON of a message; `undefined` if it is none. */
export function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(bufferOf(bytes).toString()) as unknown;
  } catch {
    return undefined;
  }
}

/** What JetStream says of an input in the subject on which it is acknowledged. */
export interface Delivered {
  /** How often, this time included. */
  readonly deliveries: number;
  /** When its stream took it, in milliseconds of the broker's clock. */
  readonly storedAt: number;
  /** Inputs that no node has taken. */
  readonly waiting: number;
}

const DOT = 46;
const ZERO = 48;

/**
 * Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<sequence of the consumer>.<time>.<waiting>`; between ACK and the stream
 * stand `<domain>.<account>` where there are more tokens. Digit by digit, as it is done for every input.
 *
 * @returns `undefined` if it is another subject
 */
export function readDelivered(reply: string): Delivered | undefined {
  if (!reply.startsWith('$JS.ACK.')) return undefined;
  let dots = 0;
  for (let at = 0; at < reply.length; at++) if (reply.charCodeAt(at) === DOT) dots++;
  let token = dots > 8 ? -6 : -4;
  const numbers = [0, 0, 0, 0, 0];
  for (let at = 0; at < reply.length && token < numbers.length; at++) {
    const character = reply.charCodeAt(at);
    if (character === DOT) token++;
    else if (token >= 0) numbers[token] = 10 * (numbers[token] ?? 0) + character - ZERO;
  }
  const [deliveries = 0, , , nanoseconds = 0, waiting = 0] = numbers;
  return { deliveries, storedAt: nanoseconds / 1e6, waiting };
}
