/** One tensor that a model takes or gives, for one input: without the batch dimension. */
export interface TensorDescription {
  name: string;
  shape: readonly number[];
  dtype: 'float32' | 'int32' | 'bool';
}

/** The tensors that a model takes and gives, in its order. */
export interface ModelDescription {
  inputs: readonly TensorDescription[];
  outputs: readonly TensorDescription[];
  /** All of it in one text: models with equal signatures are interchangeable. See `signatureOf`. */
  signature: string;
}

/** The shape of one input, or of each by name: says what the model leaves open. */
export type InputShape = readonly number[] | Readonly<Record<string, readonly number[]>>;

/** SHA-256 of a model's files in hexadecimal, by their names as seen from the model's folder. */
export type ModelChecksums = Readonly<Record<string, string>>;

/** `layers model: "x" float32[2] to "scores" float32[1]`. Quoted names keep different models from having the same text. */
export function signatureOf(kind: string, { inputs, outputs }: Omit<ModelDescription, 'signature'>): string {
  const [taken, given] = [inputs, outputs].map((tensors) =>
    tensors
      .map(({ name, shape, dtype }) => `${JSON.stringify(name)} ${dtype}[${shape.join(', ')}]`)
      .join(', '),
  );
  return `${kind}: ${taken} to ${given}`;
}
