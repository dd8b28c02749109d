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
