import { bytesOfBatch, type SharedBatch } from '../protocol/batch-layout.js';
import type { ModelDescription } from '../protocol/model-description.js';

/** Free blocks kept of each size. Two are in use at most times: one batch runs while the next is filled. */
const keptBlocks = 4;
/** In bytes. */
const smallestBlock = 4096;

/**
 * The memory that the main thread shares with its worker. Blocks are used again, so a batch allocates nothing; their sizes
 * are powers of two, so that few of them serve batches of all sizes.
 */
export class BatchMemory {
  readonly #free = new Map<number, SharedArrayBuffer[]>();
  #bytes = 0;

  /** Bytes in all blocks, used and free. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Memory for a batch, with an earlier batch still in it. It goes back with `giveBack` once its results have been read. */
  take(description: ModelDescription, size: number, asBytes: readonly boolean[]): SharedBatch {
    const bytes = bytesOfBatch(size, asBytes, description);
    const blockSize = Math.max(smallestBlock, 2 ** Math.ceil(Math.log2(bytes)));
    let memory = this.#free.get(blockSize)?.pop();
    if (!memory) {
      memory = new SharedArrayBuffer(blockSize);
      this.#bytes += blockSize;
    }
    return { memory, size, asBytes, signature: description.signature };
  }

  giveBack({ memory }: SharedBatch): void {
    const free = this.#free.get(memory.byteLength) ?? [];
    if (free.length < keptBlocks) {
      free.push(memory);
      this.#free.set(memory.byteLength, free);
    } else {
      this.#bytes -= memory.byteLength;
    }
  }
}
