/** An input or output tensor of a model, for one input: without the batch dimension. */
export interface TensorDescription {
  name: string;
  shape: readonly number[];
  dtype: 'float32' | 'int32' | 'bool';
}

/** The input and output tensors of a model, in its order. */
export interface ModelDescription {
  inputs: readonly TensorDescription[];
  outputs: readonly TensorDescription[];
  /** Those of the inputs that are a stream's state, if the model was registered with the option `state`. */
  state?: StateTensors;
  /** Inputs and outputs as text, by `signatureOf`: models with equal signatures are interchangeable. */
  signature: string;
}

/** For each input tensor that is a stream's state, the output tensor that is its next state, by their names. */
export type StateTensors = Readonly<Record<string, string>>;

/** The tensors that are sent to the worker and back if the state of each stream stays there. */
export function withoutState(description: ModelDescription): ModelDescription {
  const { state = {}, inputs, outputs } = description;
  const next = Object.values(state);
  return {
    ...description,
    inputs: inputs.filter(({ name }) => !(name in state)),
    outputs: outputs.filter(({ name }) => !next.includes(name)),
  };
}

/** Shape of one input, or of each by name: for dimensions that the model leaves open. */
export type InputShape = readonly number[] | Readonly<Record<string, readonly number[]>>;

/** SHA-256 of a model's files in hexadecimal, by their paths relative to the model's folder. */
export type ModelChecksums = Readonly<Record<string, string>>;

/**
 * `layers model: "x" float32[2] to "scores" float32[1]`. Names are quoted, so that different models differ in
 * it.
 */
export function signatureOf(kind: string, { inputs, outputs }: Omit<ModelDescription, 'signature'>): string {
  const [taken, given] = [inputs, outputs].map((tensors) =>
    tensors
      .map(({ name, shape, dtype }) => `${JSON.stringify(name)} ${dtype}[${shape.join(', ')}]`)
      .join(', '),
  );
  return `${kind}: ${taken} to ${given}`;
}
