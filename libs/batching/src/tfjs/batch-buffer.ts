import { types } from 'node:util';
import type { BatchValues, ModelDescription } from './loaded-model.js';

/**
 * One input: its numbers in one flat row, row-major, without the batch dimension. A typed array is taken over fastest, and
 * a batch of `Uint8Array` (a `Buffer` is one) travels as bytes.
 */
export type ModelInput =
  | readonly number[]
  | Uint8Array
  | Uint8ClampedArray
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/**
 * Writes the inputs into one buffer, laid out as the batch's tensor. Bytes stay bytes: they cross the threads at a quarter
 * of the size, and the worker converts them.
 */
export function fillBatch(
  inputs: readonly ModelInput[],
  length: number,
  type: ModelDescription['inputType'],
): BatchValues {
  const bytes = inputs.every((input) => types.isUint8Array(input) || types.isUint8ClampedArray(input));
  const Values = bytes ? Uint8Array : type === 'int32' ? Int32Array : Float32Array;
  const batch = new Values(inputs.length * length);
  inputs.forEach((input, i) => {
    batch.set(input, i * length);
  });
  return batch;
}

/** Cuts the results apart. Each is a copy, so that one which is kept does not keep the whole batch in memory. */
export function splitResults(results: Float32Array, size: number): Float32Array[] {
  const length = results.length / size;
  return Array.from({ length: size }, (_, i) => results.slice(i * length, (i + 1) * length));
}
