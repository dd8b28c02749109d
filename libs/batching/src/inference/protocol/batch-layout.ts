import type { ModelDescription, TensorDescription } from '../../tfjs/worker/load-network.js';

/** The numbers of one tensor of a batch, all its inputs or results one after the other, each row-major. */
export type TensorValues = Uint8Array | Int32Array | Float32Array;

/** A batch as it travels: where its inputs are, and where its results shall be. See `viewsOf`. */
export interface SharedBatch {
  memory: SharedArrayBuffer;
  /** Inputs in it, those included that only pad it. */
  size: number;
  /** Which of the model's inputs, in their order, are there as bytes: a quarter of the memory, and of the way. */
  asBytes: readonly boolean[];
  /** Of the model that the memory is laid out for: a worker that holds another under the same name must not run it. */
  signature: string;
}

/** One tensor of a batch and its numbers, in the batch's memory. */
export interface BatchTensor extends TensorDescription {
  values: TensorValues;
}

/**
 * Where everything is in a batch's memory, for both threads alike: the model's inputs in their order, then its outputs in
 * theirs, each laid out as the batch's tensor, at multiples of four bytes.
 */
export function viewsOf(
  { memory, size, asBytes }: SharedBatch,
  { inputs, outputs }: ModelDescription,
): { inputs: BatchTensor[]; outputs: BatchTensor[] } {
  let end = 0;
  const next = (tensor: TensorDescription, bytes: boolean) => {
    const start = end;
    end += tensorBytes(tensor, size, bytes);
    return { ...tensor, values: viewOf(tensor, bytes, memory, start, size * lengthOf(tensor)) };
  };
  return {
    inputs: inputs.map((tensor, i) => next(tensor, asBytes[i] === true)),
    outputs: outputs.map((tensor) => next(tensor, false)),
  };
}

/** Numbers in one input or result. */
export function lengthOf({ shape }: Pick<TensorDescription, 'shape'>): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

function viewOf(
  { dtype }: TensorDescription,
  bytes: boolean,
  memory: SharedArrayBuffer,
  start: number,
  length: number,
): TensorValues {
  if (bytes || dtype === 'bool') return new Uint8Array(memory, start, length);
  return dtype === 'int32' ? new Int32Array(memory, start, length) : new Float32Array(memory, start, length);
}

function tensorBytes(tensor: TensorDescription, size: number, bytes: boolean): number {
  const perNumber = bytes || tensor.dtype === 'bool' ? 1 : 4;
  return Math.ceil((size * lengthOf(tensor) * perNumber) / 4) * 4;
}

/** Free blocks kept of each size. Two do for a batch that runs and a batch that is being filled. */
const keptBlocks = 4;
const smallestBlock = 4096;

/**
 * The memory that a lane shares with its worker. Blocks are used again and again, so that a batch allocates nothing; their
 * sizes are powers of two, so that batches of all sizes make do with a few.
 */
export class BatchMemory {
  readonly #free = new Map<number, SharedArrayBuffer[]>();
  #bytes = 0;

  /** Bytes in all blocks, used and free. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A batch with memory that holds what was there before. Give it back when its results have been read. */
  take(description: ModelDescription, size: number, asBytes: readonly boolean[]): SharedBatch {
    const bytes =
      description.inputs.reduce((sum, tensor, i) => sum + tensorBytes(tensor, size, asBytes[i] === true), 0) +
      description.outputs.reduce((sum, tensor) => sum + tensorBytes(tensor, size, false), 0);
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
