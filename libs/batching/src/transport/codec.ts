/** Turns values into bytes and back. What it throws is the `cause` of a `PayloadError`. */
export interface Codec {
  /** @returns a message with `room` bytes left free, and then the value: an envelope is written before it without a copy */
  pack(value: unknown, room: number): Buffer;
  unpack(bytes: Uint8Array): unknown;
}

/** The same for bytes that are there already. */
export function withRoom(room: number, bytes: Uint8Array): Buffer {
  const message = Buffer.allocUnsafe(room + bytes.byteLength);
  message.set(bytes, room);
  return message;
}
