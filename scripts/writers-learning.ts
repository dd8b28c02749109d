import * as tf from '@tensorflow/tfjs';
import { unit, UNITS, VOCABULARY, type WeightName, type Weights } from '../apps/writers/model/network.js';

/** Passages of a text that are read at the same time, a character of each per step. */
export interface Passages {
  readonly tokens: Int32Array;
  readonly count: number;
  /** Characters from the beginning of one to that of the next. */
  readonly length: number;
}

/** The passages into which a text of at least `count + 1` tokens is divided. */
export function passagesOf(tokens: Int32Array, count: number): Passages {
  return { tokens, count, length: Math.floor((tokens.length - 1) / count) };
}

/**
 * Reads characters `begin` to `begin + steps` of each passage. The gradients are written out: TensorFlow.js would multiply
 * for those of the recurrent weights at each character, and here all characters are one product.
 *
 * @param state of each passage before
 * @returns the cross-entropy in nats per character, the states after, and the gradients; the caller disposes of them
 */
export function learn(
  passages: Passages,
  begin: number,
  steps: number,
  state: tf.Tensor2D,
  weights: Weights,
): { loss: tf.Scalar; last: tf.Tensor2D; gradients: Record<WeightName, tf.Tensor2D> } {
  return tf.tidy(() => {
    const { tokens, next, read, states, scores } = readStretch(passages, begin, steps, state, weights);
    const logarithms = tf.logSoftmax(scores);
    const count = next.shape[0];
    const toScores: tf.Tensor2D = tf.div(tf.sub(tf.exp(logarithms), next), count);
    const toStates = tf.split(tf.matMul(toScores, tf.transpose(weights.output)), steps, 0);
    const recurrent = tf.transpose(weights.recurrent);
    const toProjected: tf.Tensor2D[] = [];
    const toProducts: tf.Tensor2D[] = [];
    // What the characters behind say about a state.
    let carried = tf.zerosLike(state);
    for (const [i, { before, update, reset, candidate, fromCandidate }] of [...read.entries()].reverse()) {
      const toNext = tf.add(toStates[i] ?? carried, carried);
      const kept = tf.mul(toNext, update);
      const toUpdate = tf.mul(tf.mul(kept, tf.sub(1, update)), tf.sub(before, candidate));
      const toCandidate = tf.mul(tf.sub(toNext, kept), tf.sub(1, tf.square(candidate)));
      const toProduct = tf.mul(toCandidate, reset);
      const toReset = tf.mul(tf.mul(toProduct, fromCandidate), tf.sub(1, reset));
      toProjected.unshift(tf.concat2d([toUpdate, toReset, toCandidate] as tf.Tensor2D[], 1));
      const toAll = tf.concat2d([toUpdate, toReset, toProduct] as tf.Tensor2D[], 1);
      toProducts.unshift(toAll);
      carried = tf.add(kept, tf.matMul(toAll, recurrent));
    }
    const allProjected = tf.concat2d(toProjected, 0);
    const allBefore = tf.concat2d(
      read.map(({ before }) => before),
      0,
    );
    const gradients: Record<WeightName, tf.Tensor2D> = {
      input: tf.matMul(tf.transpose(oneHot(tokens)), allProjected),
      bias: tf.sum(allProjected, 0, true),
      recurrent: tf.matMul(tf.transpose(allBefore), tf.concat2d(toProducts, 0)),
      output: tf.matMul(tf.transpose(states), toScores),
      outputBias: tf.sum(toScores, 0, true),
    };
    return { loss: lossOf(logarithms, next), last: lastOf(read, state), gradients };
  });
}

/** @returns bits per character of the text, read in 32 passages, each from a state of zeros */
export function bitsOf(text: Int32Array, weights: Weights): number {
  const passages = passagesOf(text, 32);
  let state = tf.zeros<tf.Rank.R2>([passages.count, UNITS]);
  let nats = 0;
  for (let begin = 0; begin < passages.length; begin += 32) {
    const steps = Math.min(32, passages.length - begin);
    const { loss, last } = tf.tidy(() => {
      const { next, read, scores } = readStretch(passages, begin, steps, state, weights);
      return { loss: lossOf(tf.logSoftmax(scores), next), last: lastOf(read, state) };
    });
    nats += numberIn(loss) * steps;
    tf.dispose([loss, state]);
    state = last;
  }
  state.dispose();
  return toBits(nats / passages.length);
}

/** @returns each tensor by time, then by passage */
function readStretch(
  { tokens: text, count, length }: Passages,
  begin: number,
  steps: number,
  state: tf.Tensor2D,
  weights: Weights,
) {
  const column = (from: number) =>
    tf.tensor1d(
      Int32Array.from(
        { length: steps * count },
        (_, i) => text[(i % count) * length + from + Math.floor(i / count)] ?? NaN,
      ),
      'int32',
    );
  const tokens = column(begin);
  const projected = tf.add(tf.matMul(oneHot(tokens), weights.input), weights.bias);
  let before = state;
  const read = tf.split(projected, steps, 0).map((added) => {
    const products = tf.matMul<tf.Tensor2D>(before, weights.recurrent);
    const reading = { before, ...unit(tf, tf.split(added, 3, 1), tf.split(products, 3, 1), before) };
    before = reading.next;
    return reading;
  });
  const states = tf.concat2d(
    read.map(({ next }) => next),
    0,
  );
  const scores: tf.Tensor2D = tf.add(tf.matMul(states, weights.output), weights.outputBias);
  return { tokens, next: oneHot(column(begin + 1)), read, states, scores };
}

function oneHot(tokens: tf.Tensor1D): tf.Tensor2D {
  return tf.cast(tf.oneHot(tokens, VOCABULARY.length) as tf.Tensor2D, 'float32');
}

function lossOf(logarithms: tf.Tensor2D, next: tf.Tensor2D): tf.Scalar {
  return tf.div(tf.sum(tf.mul(logarithms, next)), -next.shape[0]);
}

function lastOf(read: readonly { next: tf.Tensor2D }[], state: tf.Tensor2D): tf.Tensor2D {
  return tf.clone(read.at(-1)?.next ?? state);
}

export function numberIn(scalar: tf.Scalar): number {
  return scalar.dataSync()[0] ?? NaN;
}

export function toBits(nats: number): number {
  return nats / Math.LN2;
}
