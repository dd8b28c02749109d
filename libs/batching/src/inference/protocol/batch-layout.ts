import type { ModelDescription, TensorDescription } from './model-description.js';

/** The numbers of one tensor of a batch: those of all its inputs or results in sequence, each row-major. */
export type TensorValues = Uint8Array | Int32Array | Float32Array;

/**
 * A batch as it is passed between the threads: memory for its inputs and its results, laid out as `tensorsOf`
 * says.
 */
export interface SharedBatch {
  memory: SharedArrayBuffer;
  /** Number of inputs, with the padding. */
  size: number;
  /**
   * For each input tensor, in the model's order, whether its numbers are bytes, which take a quarter of the
   * memory.
   */
  asBytes: readonly boolean[];
  /**
   * Signature of the model that the batch is for. A worker with another model of the same name refuses the
   * batch.
   */
  signature: string;
}

/** One tensor of a batch and its numbers, in the batch's memory. */
export interface BatchTensor extends TensorDescription {
  values: TensorValues;
}

/**
 * The tensors of a batch in its memory, by the same layout in both threads: one block per tensor, first the inputs in the
 * model's order, then the outputs. Each block starts at a multiple of four bytes:
 *
 *     | input 0: size × shape | input 1 … | output 0: size × shape | output 1 … | unused |
 */
export function tensorsOf(
  { memory, size, asBytes }: SharedBatch,
  { inputs, outputs }: ModelDescription,
): { inputs: BatchTensor[]; outputs: BatchTensor[] } {
  let end = 0;
  const next = (tensor: TensorDescription, bytes: boolean) => {
    const start = end;
    end += tensorBytes(tensor, size, bytes);
    return { ...tensor, values: valuesAt(tensor, bytes, memory, start, size * lengthOf(tensor)) };
  };
  return {
    inputs: inputs.map((tensor, i) => next(tensor, asBytes[i] === true)),
    outputs: outputs.map((tensor) => next(tensor, false)),
  };
}

/** Size of a batch's memory, in bytes. */
export function bytesOfBatch(
  size: number,
  asBytes: readonly boolean[],
  { inputs, outputs }: ModelDescription,
): number {
  return (
    inputs.reduce((sum, tensor, i) => sum + tensorBytes(tensor, size, asBytes[i] === true), 0) +
    outputs.reduce((sum, tensor) => sum + tensorBytes(tensor, size, false), 0)
  );
}

/** Numbers in one input or result. */
export function lengthOf({ shape }: Pick<TensorDescription, 'shape'>): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

function valuesAt(
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

/** Describes the first number that is NaN or infinite, for a message; `undefined` if all are finite. */
export function nonFiniteIn(outputs: readonly { name: string; values: TensorValues }[]): string | undefined {
  for (const { name, values } of outputs) {
    const found = values.find((value) => !Number.isFinite(value));
    if (found !== undefined) return `${found} in output '${name}'`;
  }
  return undefined;
}
