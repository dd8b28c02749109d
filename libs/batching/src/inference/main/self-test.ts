import { inspect, types } from 'node:util';
import { invariant } from '../../core/invariant.js';
import type { BatchTensor } from '../protocol/batch-layout.js';
import { isNamed, type ModelInput, type NamedModelInput } from './model-input.js';

/** An input with a known result; a model that returns another result is refused. */
export interface ModelSelfTest {
  /** One input, in a form that `predict` takes. */
  input: ModelInput | NamedModelInput;
  /**
   * Its result, in the form that `predict` returns: the numbers of the result, or for an input by name the
   * numbers of the outputs by name. Outputs that are not named are not compared.
   */
  expected: ModelInput | NamedModelInput;
  /** Largest absolute difference allowed for each number: ≥ 0. Default 0.001. */
  tolerance?: number;
}

const DEFAULT_TOLERANCE = 1e-3;

/**
 * @param subject name of the option in messages
 * @returns a deep copy of the tests, as they run again after every restart of the worker
 * @throws {TypeError | RangeError} for an invalid test, with what was expected and what was given
 */
export function readSelfTests(subject: string, option: unknown): readonly ModelSelfTest[] | undefined {
  if (option === undefined) return undefined;
  const tests: unknown[] = Array.isArray(option) ? option : [option];
  if (tests.length === 0) throw new RangeError(`${subject} must have at least one test; it is []`);
  for (const test of tests) {
    const { input, expected, tolerance = DEFAULT_TOLERANCE } = (test ?? {}) as Partial<ModelSelfTest>;
    for (const [name, values] of Object.entries({ input, expected })) {
      if (!isNumbersOrNamed(values)) {
        throw new TypeError(
          `${subject} must be { input, expected, tolerance } or an array of these, its ${name} an array of numbers or ` +
            `an object of such arrays by name; it is ${inspect(values, { depth: 1, maxArrayLength: 5 })}`,
        );
      }
    }
    if (isNamed(input) !== isNamed(expected)) {
      throw new TypeError(
        `${subject} must have input and expected in one form, both arrays or both by name, as predict takes and gives ` +
          `them; its input is ${isNamed(input) ? 'by name' : 'an array'} and its expected is not`,
      );
    }
    if (typeof tolerance !== 'number') {
      throw new TypeError(`${subject} must have a number as its tolerance; it is ${inspect(tolerance)}`);
    }
    if (!(tolerance >= 0)) {
      throw new RangeError(`${subject} must have a tolerance from 0; it is ${tolerance}`);
    }
  }
  return structuredClone(tests) as ModelSelfTest[];
}

function isNumbersOrNamed(values: unknown): boolean {
  if (!isNamed(values)) return isNumbers(values);
  const tensors = Object.values(values);
  return tensors.length > 0 && tensors.every(isNumbers);
}

function isNumbers(values: unknown): boolean {
  if (!Array.isArray(values)) return types.isTypedArray(values);
  return values.every((value) => typeof value === 'number' || typeof value === 'boolean');
}

/**
 * Describes the first difference between the expected result and the first of the `size` results in these
 * tensors.
 */
export function differenceFrom(
  { expected, tolerance = DEFAULT_TOLERANCE }: ModelSelfTest,
  outputs: readonly BatchTensor[],
  size: number,
): string | undefined {
  const [only] = outputs;
  invariant(only !== undefined, 'a model has no output tensor');
  const compared = isNamed(expected) ? expected : { [only.name]: expected };
  for (const [name, wanted] of Object.entries(compared)) {
    const output = outputs.find((output) => output.name === name);
    if (!output) {
      const names = outputs.map((output) => `'${output.name}'`).join(', ');
      return `it expects an output '${name}', which the model does not give; it gives ${names}`;
    }
    const found = output.values.subarray(0, output.values.length / size);
    if (wanted.length !== found.length) {
      return `it expects ${wanted.length} numbers of output '${name}', which has ${found.length}`;
    }
    for (const [i, value] of found.entries()) {
      const number = Number(wanted[i]);
      if (Math.abs(value - number) <= tolerance || Object.is(value, number)) continue;
      return `number ${i} of output '${name}' is ${value}; expected is ${number}, within ${tolerance}`;
    }
  }
  return undefined;
}
