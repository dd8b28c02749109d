import { types } from 'node:util';
import { type BatchTensor, lengthOf } from './batch-memory.js';
import { ModelInputError } from './errors.js';
import type { ModelDescription, TensorDescription } from './network.js';

/**
 * The numbers of one input in one flat row, row-major, without the batch dimension. A typed array is taken over fastest,
 * and a batch of `Uint8Array` (a `Buffer` is one) travels as bytes. Booleans are for tensors of bools only.
 */
export type ModelInput =
  | readonly number[]
  | readonly boolean[]
  | Uint8Array
  | Uint8ClampedArray
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** One input of a model that takes several tensors, by their names. */
export type NamedModelInput = Readonly<Record<string, ModelInput>>;

/** One input with its tensors in the model's order. */
export type InputTensors = readonly ModelInput[];

/** Whether it is given by names; else it is the numbers themselves, for a model of one tensor. */
export function isNamed(input: unknown): input is NamedModelInput {
  return typeof input === 'object' && input !== null && !Array.isArray(input) && !ArrayBuffer.isView(input);
}

/** The input's tensors in the model's order. Throws `ModelInputError` unless each is there, whole, and all numbers. */
export function checkInput(
  model: string,
  { inputs: tensors }: ModelDescription,
  input: unknown,
  index: number,
): InputTensors {
  const values = inOrder(model, tensors, input, index);
  values.forEach((value, i) => {
    const tensor = tensors[i];
    if (!tensor) return;
    const problem = problemOf(value, tensor);
    if (!problem) return;
    const which = tensors.length > 1 ? `has a tensor '${tensor.name}' that ` : '';
    throw new ModelInputError(model, index, tensor, which + problem);
  });
  return values as InputTensors;
}

function inOrder(
  model: string,
  tensors: readonly TensorDescription[],
  input: unknown,
  index: number,
): unknown[] {
  if (!isNamed(input)) {
    if (tensors.length === 1) return [input];
    const names = tensors.map(({ name }) => `${JSON.stringify(name)}: […]`).join(', ');
    throw new ModelInputError(
      model,
      index,
      undefined,
      `must be an object { ${names} }, as the model takes several tensors`,
    );
  }
  const unknown = Object.keys(input).find((name) => !tensors.some((tensor) => tensor.name === name));
  if (unknown !== undefined) {
    const names = tensors.map(({ name }) => `'${name}'`).join(', ');
    throw new ModelInputError(
      model,
      index,
      undefined,
      `has a tensor '${unknown}', which the model does not take; it takes ${names}`,
    );
  }
  return tensors.map(({ name }) => input[name]);
}

function problemOf(value: unknown, tensor: TensorDescription): string | undefined {
  const length = lengthOf(tensor);
  const expected = `must have ${length} numbers (${tensor.shape.join(' × ')}, row-major)`;
  if (!isNumbers(value)) return `${expected}; it has none, as it is no array`;
  if (value.length !== length) return `${expected}; it has ${value.length}`;
  // Arrays of integers hold nothing else.
  if (!Array.isArray(value) && !types.isFloat32Array(value) && !types.isFloat64Array(value)) return undefined;
  for (let i = 0; i < length; i++) {
    const number: unknown = value[i];
    if (number === number && typeof number === 'number') continue;
    if (typeof number === 'boolean' && tensor.dtype === 'bool') continue;
    return `${expected}; number ${i} is ${Array.isArray(number) ? 'an array' : String(number)}`;
  }
  return undefined;
}

function isNumbers(value: unknown): value is ArrayLike<unknown> {
  return (
    Array.isArray(value) ||
    (types.isTypedArray(value) && !types.isBigInt64Array(value) && !types.isBigUint64Array(value))
  );
}

/** Which tensors are bytes in every input, and so may travel as such. */
export function bytesOnly(inputs: readonly InputTensors[], tensors: readonly TensorDescription[]): boolean[] {
  return tensors.map((_, i) =>
    inputs.every(({ [i]: values }) => types.isUint8Array(values) || types.isUint8ClampedArray(values)),
  );
}

/** Writes the inputs where the batch's tensors are, and zeros after them: what was there before has been another batch. */
export function fillBatch(
  tensors: readonly BatchTensor[],
  inputs: readonly InputTensors[],
  size: number,
): void {
  for (const [i, { values }] of tensors.entries()) {
    const length = values.length / size;
    let start = 0;
    for (const { [i]: numbers = [] } of inputs) {
      // Booleans become 0 and 1.
      values.set(numbers as ArrayLike<number>, start);
      start += length;
    }
    values.fill(0, start);
  }
}
