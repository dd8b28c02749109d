/** Turns values into bytes and back. What it throws is the `cause` of a `PayloadError`. */
export interface Codec {
  pack(value: unknown): Uint8Array;
  unpack(bytes: Uint8Array): unknown;
}
