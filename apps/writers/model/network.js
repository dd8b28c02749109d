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

/** Reads the weights into tensors. */
export async function load(tf) {
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

export function run(tf, { token, state }, weights) {
  const next = step(tf, project(tf, token, weights), state, weights);
  return { scores: score(tf, next, weights), state: next };
}

/** What characters add to the gates and the candidate: [n] tokens to [n, 3 · UNITS]. */
export function project(tf, tokens, { input, bias }) {
  return tf.add(tf.matMul(tf.oneHot(tokens, VOCABULARY.length).toFloat(), input), bias);
}

/** The next states, [n, UNITS], from what the characters add and the states before. */
export function step(tf, projected, state, { recurrent }) {
  const [toUpdate, toReset, toCandidate] = tf.split(projected, 3, 1);
  const [fromUpdate, fromReset, fromCandidate] = tf.split(tf.matMul(state, recurrent), 3, 1);
  const update = tf.sigmoid(tf.add(toUpdate, fromUpdate));
  const reset = tf.sigmoid(tf.add(toReset, fromReset));
  const candidate = tf.tanh(tf.add(toCandidate, tf.mul(reset, fromCandidate)));
  return tf.add(candidate, tf.mul(update, tf.sub(state, candidate)));
}

/** Scores (logits) of the next character: [n, UNITS] to [n, VOCABULARY.length]. */
export function score(tf, states, { output, outputBias }) {
  return tf.add(tf.matMul(states, output), outputBias);
}
