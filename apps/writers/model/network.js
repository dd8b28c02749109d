import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

/*
 * One step of the writers' network: a character and a state in, the scores of the next character and the next state
 * out. It runs in the inference worker as a model module, and `npm run train:writers` trains it with the same functions.
 *
 * A gated recurrent unit: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014, in the form in
 * which the reset gate follows the product, so that a step multiplies the states once.
 */

const description = JSON.parse(readFileSync(new URL('network.json', import.meta.url), 'utf8'));
/** The characters that the network knows; a token is an index into it. */
export const VOCABULARY = description.vocabulary;
/** Numbers of a state. */
export const UNITS = description.units;

/** Shapes of the weights, in the order of weights.bin (float32, little-endian). */
export const WEIGHTS = {
  /** From a character, one-hot, to update gate, reset gate and candidate. */
  input: [VOCABULARY.length, 3 * UNITS],
  bias: [1, 3 * UNITS],
  /** From a state to the same three. */
  recurrent: [UNITS, 3 * UNITS],
  output: [UNITS, VOCABULARY.length],
  outputBias: [1, VOCABULARY.length],
};

/** One input of the model. */
export const inputs = { token: { shape: [], dtype: 'int32' }, state: { shape: [UNITS] } };

/** Reads the weights into tensors, as `WEIGHTS` names them. */
export async function readWeights(tf) {
  const bytes = await readFile(new URL('weights.bin', import.meta.url));
  const numbers = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  let start = 0;
  return Object.fromEntries(
    Object.entries(WEIGHTS).map(([name, shape]) => {
      const size = shape.reduce((product, length) => product * length, 1);
      return [name, tf.tensor(numbers.subarray(start, (start += size)), shape)];
    }),
  );
}

/**
 * The weights of update gate, reset gate and candidate apart. The backend `wasm` splits columns by copying all of them into
 * JavaScript's memory for each part: half a megabyte in each step, and a full garbage collection every 40 steps. (Nor are products
 * fused with their biases, which would leave a third more garbage, or characters one-hot as float32, which `wasm` gets wrong.)
 */
export async function load(tf) {
  const { input, bias, recurrent, output, outputBias } = await readWeights(tf);
  const [inputs, biases, recurrents] = [input, bias, recurrent].map((weights) => tf.split(weights, 3, 1));
  return {
    gates: inputs.map((input, i) => ({ input, bias: biases[i], recurrent: recurrents[i] })),
    output,
    outputBias,
  };
}

export function run(tf, { token, state }, { gates, output, outputBias }) {
  const character = tf.oneHot(token, VOCABULARY.length).toFloat();
  const { next } = unit(
    tf,
    gates.map(({ input, bias }) => tf.add(tf.matMul(character, input), bias)),
    gates.map(({ recurrent }) => tf.matMul(state, recurrent)),
    state,
  );
  return { scores: tf.add(tf.matMul(next, output), outputBias), state: next };
}

/**
 * The recurrent unit: the next states, [n, UNITS], and what they are made of, from which a training gets the gradients.
 *
 * @param added to update gate, reset gate and candidate by the characters, [n, UNITS] each
 * @param products of the states with the recurrent weights of the same three
 */
export function unit(tf, [toUpdate, toReset, toCandidate], [fromUpdate, fromReset, fromCandidate], state) {
  const update = tf.sigmoid(tf.add(toUpdate, fromUpdate));
  const reset = tf.sigmoid(tf.add(toReset, fromReset));
  const candidate = tf.tanh(tf.add(toCandidate, tf.mul(reset, fromCandidate)));
  const next = tf.add(candidate, tf.mul(update, tf.sub(state, candidate)));
  return { next, update, reset, candidate, fromCandidate };
}
