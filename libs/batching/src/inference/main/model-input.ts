import { types } from 'node:util';
import { type BatchTensor, lengthOf } from '../protocol/batch-layout.js';
import { ModelInputError } from '../errors.js';
import type { ModelDescription, TensorDescription } from '../protocol/model-description.js';

/**
 * The numbers of one input as a flat array, row-major, without the batch dimension. Typed arrays are copied
 * fastest; a batch of only `Uint8Array`s (such as `Buffer`s) is passed to the worker as bytes. Booleans are
 * for tensors of bools only.
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

/** One input given as tensors by name, for a model of any number of tensors. */
export type NamedModelInput = Readonly<Record<string, ModelInput>>;

/** One input with its tensors in the model's order. */
export type InputTensors = readonly ModelInput[];

/** Whether the input's tensors are given by name; otherwise it is the numbers of the model's only tensor. */
export function isNamed(input: unknown): input is NamedModelInput {
  return typeof input === 'object' && input !== null && !Array.isArray(input) && !ArrayBuffer.isView(input);
}

/**
 * @returns the inputs of one batch, each as its tensors in the model's order
 * @throws {ModelInputError} unless they are an array of inputs that the model accepts, all of one form (by
 *   name or not), which is that of the results
 */
export function checkInputs(model: string, description: ModelDescription, inputs: unknown): InputTensors[] {
  if (!Array.isArray(inputs)) {
    const problem = `must be an array with one entry per input: [input]; they are ${inWords(inputs)}`;
    throw new ModelInputError(model, undefined, undefined, problem);
  }
  // `inputs.map` would skip the holes of a sparse array.
  return Array.from(inputs, (input: unknown, i) => {
    const tensors = checkInput(model, description, input, i);
    if (isNamed(input) === isNamed(inputs[0])) return tensors;
    const [form, first] = isNamed(input) ? ['by name', 'an array'] : ['as an array', 'by name'];
    const problem = `is given ${form}, and input 0 ${first}: a batch is of one form, as are its results`;
    throw new ModelInputError(model, i, undefined, problem);
  });
}

/**
 * @returns the input's tensors in the model's order
 * @throws {ModelInputError} if `predict` would refuse the input
 */
export function checkInput(
  model: string,
  { inputs: tensors, outputs }: ModelDescription,
  input: unknown,
  index: number,
): InputTensors {
  const named = isNamed(input);
  if (!named && (tensors.length > 1 || outputs.length > 1)) {
    const names = tensors.map(({ name }) => `${JSON.stringify(name)}: […]`).join(', ');
    const why =
      tensors.length > 1
        ? 'as the model takes several tensors'
        : `as the model gives several tensors, by name: ${namesOf(outputs)}`;
    throw new ModelInputError(model, index, undefined, `must be an object { ${names} }, ${why}`);
  }
  const unknown = named && Object.keys(input).find((name) => !tensors.some((tensor) => tensor.name === name));
  if (typeof unknown === 'string') {
    const problem = `has a tensor '${unknown}', which the model does not take; it takes ${namesOf(tensors)}`;
    throw new ModelInputError(model, index, undefined, problem);
  }
  return tensors.map((tensor) => {
    const values: unknown = named ? input[tensor.name] : input;
    const problem = problemOf(values, tensor);
    if (problem === undefined) return values as ModelInput;
    const which = tensors.length > 1 ? `has a tensor '${tensor.name}' that ` : '';
    throw new ModelInputError(model, index, tensor, which + problem);
  });
}

function namesOf(tensors: readonly TensorDescription[]): string {
  return tensors.map(({ name }) => `'${name}'`).join(', ');
}

function problemOf(values: unknown, tensor: TensorDescription): string | undefined {
  const length = lengthOf(tensor);
  const expected = `must have ${length} numbers (${tensor.shape.join(' × ')}, row-major)`;
  if (types.isBigInt64Array(values) || types.isBigUint64Array(values)) {
    return `${expected}; it has none, as it is no array of numbers but of BigInts: convert them with Number()`;
  }
  if (!isNumbers(values)) return `${expected}; it has none, as it is no array`;
  if (values.length !== length) return `${expected}; it has ${values.length}`;
  if (alwaysFits(values, tensor)) return undefined;
  const misfit = firstMisfit(values, tensor);
  if (misfit === undefined) return undefined;
  const value = values[misfit];
  return `${expected}; number ${misfit} is ${inWords(value)}${whyNot(value, tensor)}`;
}

/**
 * Index of the first value that the tensor cannot hold; fractions are allowed in a tensor of integers. One
 * loop per type, because this and copying are most of the main thread's work for a batch.
 */
function firstMisfit(values: ArrayLike<unknown>, { dtype }: TensorDescription): number | undefined {
  const { length } = values;
  if (dtype === 'float32') {
    for (let i = 0; i < length; i++) {
      const value = values[i];
      if (value !== value || typeof value !== 'number') return i;
    }
  } else if (dtype === 'int32') {
    for (let i = 0; i < length; i++) {
      const value = values[i];
      if (!(typeof value === 'number' && value > -(2 ** 31) - 1 && value < 2 ** 31)) return i;
    }
  } else {
    for (let i = 0; i < length; i++) {
      const value = values[i];
      if (!Number.isFinite(value) && typeof value !== 'boolean') return i;
    }
  }
  return undefined;
}

/** Whether the array's type alone ensures that every value fits. */
function alwaysFits(values: ArrayLike<unknown>, { dtype }: TensorDescription): boolean {
  if (types.isUint32Array(values)) return dtype !== 'int32';
  return (
    types.isUint8Array(values) ||
    types.isUint8ClampedArray(values) ||
    types.isInt8Array(values) ||
    types.isUint16Array(values) ||
    types.isInt16Array(values) ||
    types.isInt32Array(values)
  );
}

function whyNot(value: unknown, { dtype }: TensorDescription): string {
  if (typeof value !== 'number' || value !== value || dtype === 'float32') return '';
  if (dtype === 'bool') return ', which is no bool; every finite number but 0 is true';
  return ', and an int32 holds -2147483648 to 2147483647';
}

/** A short description of any value for a message, even of one that `String` cannot convert. */
function inWords(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (ArrayBuffer.isView(value)) return `a ${Object.prototype.toString.call(value).slice(8, -1)}`;
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  return typeof value === 'object' && value ? 'an object' : String(value);
}

function isNumbers(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || types.isTypedArray(value);
}

/** For each tensor, whether it is bytes in every input, so that it can be passed as bytes. */
export function bytesOnly(inputs: readonly InputTensors[], tensors: readonly TensorDescription[]): boolean[] {
  return tensors.map((_, i) =>
    inputs.every(({ [i]: values }) => types.isUint8Array(values) || types.isUint8ClampedArray(values)),
  );
}

/**
 * Writes the inputs into the batch's tensors and zero-fills the rest: the memory may hold an earlier batch.
 */
export function fillBatch(
  tensors: readonly BatchTensor[],
  inputs: readonly InputTensors[],
  size: number,
): void {
  for (const [i, { dtype, values }] of tensors.entries()) {
    const length = values.length / size;
    let start = 0;
    for (const { [i]: numbers = [] } of inputs) {
      // As bytes, 256 and 0.5 would be false.
      if (dtype === 'bool') for (let k = 0; k < length; k++) values[start + k] = numbers[k] ? 1 : 0;
      else values.set(numbers as ArrayLike<number>, start);
      start += length;
    }
    values.fill(0, start);
  }
}
