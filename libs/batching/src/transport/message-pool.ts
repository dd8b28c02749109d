/** Bytes below which Node has memory of its own for Buffers. */
const LEAST = 4096;
/** Most bytes that are kept. */
const MOST = 4 * 2 ** 20;

/**
 * Memory for messages. Node counts every Buffer of some size as memory outside of its heap, and collects all garbage, the whole heap, each time
 * that 64 MiB were allocated; for images that are sent one by one, that is several times a second. So the memory of messages that
 * nobody needs any more is used again.
 */
export class MessagePool {
  /** By their length, since the inputs of a service have one as a rule. */
  #free = new Map<number, Buffer[]>();
  #bytes = 0;

  /** @returns a Buffer of so many bytes, with anything in it */
  readonly take = (length: number): Buffer => {
    const buffer = length < LEAST ? undefined : this.#free.get(length)?.pop();
    if (buffer) this.#bytes -= length;
    return buffer ?? Buffer.allocUnsafe(length);
  };

  /** Nobody needs the message any more. */
  give(message: Buffer): void {
    const { length } = message;
    if (length < LEAST || length > MOST) return;
    // Of other lengths than are used now, or of more calls than there are now.
    if (this.#bytes + length > MOST) {
      this.#free = new Map();
      this.#bytes = 0;
    }
    const others = this.#free.get(length);
    if (others) others.push(message);
    else this.#free.set(length, [message]);
    this.#bytes += length;
  }
}
