/** Turns values into bytes and back. What it throws is the `cause` of a `PayloadError`. */
export interface Codec {
  /**
   * @param allocate makes the message
   * @returns a message with `room` bytes left free, and then the value: an envelope is written before it without a copy
   */
  pack(value: unknown, room: number, allocate?: Allocate): Buffer;
  unpack(bytes: Uint8Array): unknown;
}

export type Allocate = (length: number) => Buffer;

export const newMessage: Allocate = (length) => Buffer.allocUnsafe(length);

/** The same for bytes that are there already. */
export function withRoom(room: number, bytes: Uint8Array, allocate: Allocate = newMessage): Buffer {
  const message = allocate(room + bytes.byteLength);
  message.set(bytes, room);
  return message;
}
