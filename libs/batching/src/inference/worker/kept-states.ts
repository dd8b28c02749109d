import { lengthOf, type TensorValues } from '../protocol/batch-layout.js';
import type { BatchStates } from '../protocol/batch-states.js';
import type { ModelDescription, TensorDescription } from '../protocol/model-description.js';

/** A tensor of the state, and the output that is its next one. */
interface StateTensor extends TensorDescription {
  next: string;
}

/**
 * The states of streams that this thread keeps for one model, each as the numbers of its tensors. A step never changes
 * the state that it goes on from, so it can be repeated.
 */
export class KeptStates {
  readonly #tensors: readonly StateTensor[];
  readonly #states = new Map<number, readonly TensorValues[]>();
  readonly #bytesEach: number;

  constructor({ inputs, state = {} }: ModelDescription) {
    this.#tensors = inputs.flatMap((tensor) => {
      const { [tensor.name]: next } = state;
      return next === undefined ? [] : [{ ...tensor, next }];
    });
    this.#bytesEach = this.#tensors.reduce(
      (sum, tensor) => sum + lengthOf(tensor) * numbersOf(tensor, 0).BYTES_PER_ELEMENT,
      0,
    );
  }

  get count(): number {
    return this.#states.size;
  }

  get bytes(): number {
    return this.#states.size * this.#bytesEach;
  }

  /** @returns indices of the inputs whose state is not here: a thread before this one had it, or other weights */
  lost({ before }: BatchStates): number[] {
    return [...before.keys()].filter((i) => {
      const { [i]: state } = before;
      return typeof state === 'number' && !this.#states.has(state);
    });
  }

  /**
   * @param size number of inputs, with the padding, whose state is zeros, as is one that is lost
   * @returns the numbers of each state tensor of the batch, by its name
   */
  gather({ before }: BatchStates, size: number): Map<string, TensorValues> {
    const states = before.map((state) => (typeof state === 'number' ? this.#states.get(state) : state));
    return new Map(
      this.#tensors.map((tensor, k) => {
        const length = lengthOf(tensor);
        const values = numbersOf(tensor, size * length);
        for (const [i, state] of states.entries()) {
          const numbers = state?.[k];
          if (numbers) values.set(numbers, i * length);
        }
        return [tensor.name, values];
      }),
    );
  }

  /**
   * @param lost indices of inputs whose step was none
   * @param valuesOf the numbers of an output of the batch
   */
  keep({ after }: BatchStates, lost: readonly number[], valuesOf: (output: string) => TensorValues): void {
    const outputs = this.#tensors.map((tensor) => ({
      length: lengthOf(tensor),
      values: valuesOf(tensor.next),
    }));
    for (const [i, state] of after.entries()) {
      if (lost.includes(i)) continue;
      // Copies, since a view would keep the whole batch.
      this.#states.set(
        state,
        outputs.map(({ length, values }) => values.slice(i * length, (i + 1) * length)),
      );
    }
  }

  drop(states: readonly number[]): void {
    for (const state of states) this.#states.delete(state);
  }
}

function numbersOf({ dtype }: TensorDescription, length: number): TensorValues {
  if (dtype === 'bool') return new Uint8Array(length);
  return dtype === 'int32' ? new Int32Array(length) : new Float32Array(length);
}

/**
 * Checks the option `state` against the loaded model.
 *
 * @throws Error if a name is unknown, or an output cannot take its input's place
 */
export function checkState({ inputs, outputs, state = {} }: ModelDescription): void {
  const names = (tensors: readonly TensorDescription[]) => tensors.map(({ name }) => `'${name}'`).join(', ');
  for (const [from, to] of Object.entries(state)) {
    const input = inputs.find(({ name }) => name === from);
    if (!input)
      throw new Error(`state names '${from}', which is no input of the model; it has ${names(inputs)}`);
    const output = outputs.find(({ name }) => name === to);
    if (!output)
      throw new Error(`state names '${to}', which is no output of the model; it has ${names(outputs)}`);
    if (input.dtype === output.dtype && input.shape.join() === output.shape.join()) continue;
    throw new Error(
      `the output '${to}' ${output.dtype}[${output.shape.join(', ')}] cannot be the next state of the input ` +
        `'${from}' ${input.dtype}[${input.shape.join(', ')}]`,
    );
  }
  if (new Set(Object.values(state)).size < Object.keys(state).length) {
    throw new Error('state names an output twice: each is the next state of one input');
  }
  if (inputs.every(({ name }) => name in state))
    throw new Error('the model needs an input besides its state');
}
