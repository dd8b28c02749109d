import { bytesOfBatch, type SharedBatch } from '../protocol/batch-layout.js';
import type { ModelDescription } from '../protocol/model-description.js';

/** Free blocks kept of each size, at least. Usually two are in use: one batch runs while the next is filled. */
const KEPT_BLOCKS = 4;
/** Size of the smallest block, in bytes. */
const SMALLEST_BLOCK = 4096;

/**
 * The memory that the main thread shares with its workers. Blocks are reused, so that a batch usually
 * allocates nothing; their sizes are powers of two, so that a few blocks serve batches of all sizes.
 */
export class BatchMemory {
  readonly #free = new Map<number, SharedArrayBuffer[]>();
  #bytes = 0;
  #kept = KEPT_BLOCKS;

  /** Bytes in all blocks, used and free. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * @returns memory for a batch, not cleared; to be given back with `giveBack` when the results have been
   *   read
   */
  take(description: ModelDescription, size: number, asBytes: readonly boolean[]): SharedBatch {
    const bytes = bytesOfBatch(size, asBytes, description);
    const blockSize = Math.max(SMALLEST_BLOCK, 2 ** Math.ceil(Math.log2(bytes)));
    let memory = this.#free.get(blockSize)?.pop();
    if (!memory) {
      memory = new SharedArrayBuffer(blockSize);
      this.#bytes += blockSize;
    }
    return { memory, size, asBytes, signature: description.signature };
  }

  /** Keeps two free blocks of each size for each worker, but at least four. */
  serve(workers: number): void {
    this.#kept = Math.max(KEPT_BLOCKS, 2 * workers);
  }

  giveBack({ memory }: SharedBatch): void {
    const free = this.#free.get(memory.byteLength) ?? [];
    if (free.length < this.#kept) {
      free.push(memory);
      this.#free.set(memory.byteLength, free);
    } else {
      this.#bytes -= memory.byteLength;
    }
  }
}
