import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import * as tf from '@tensorflow/tfjs';
import { startBackend } from 'nest-batching/tfjs';
import {
  load,
  readWeights,
  run,
  unit,
  UNITS,
  VOCABULARY,
  type WeightName,
  WEIGHTS,
} from '../apps/writers/model/network.js';
import { fiveGramBits, readBook } from '../scripts/writers-book.js';
import { bitsOf, learn, passagesOf } from '../scripts/writers-learning.js';

describe('The 5-gram model to compare with', () => {
  // With each length of context, 0 to 4 zeros: seen three times, twice before a 0 and once before a 1.
  const seen = Int32Array.from([0, 0, 0, 0, 0, 0, 1]);

  it('interpolates the lengths of context as calculated by hand', () => {
    // p ← (1 + 2 p) / 5 for the 1 at each of the five lengths, from 1 / V on; its fixed point is 1 / 3.
    const one = 1 / 3 + (1 / VOCABULARY.length - 1 / 3) * (2 / 5) ** 5;
    expect(fiveGramBits(seen, Int32Array.from([0, 0, 0, 0, 1]))).toBeCloseTo(-Math.log2(one), 10);
    // p ← 2 p / 5 for what was never seen.
    const two = (2 / 5) ** 5 / VOCABULARY.length;
    expect(fiveGramBits(seen, Int32Array.from([0, 0, 0, 0, 2]))).toBeCloseTo(-Math.log2(two), 10);
  });

  it('stops at the longest context that it has seen', () => {
    const one = (1 + 2 / VOCABULARY.length) / 5;
    expect(fiveGramBits(seen, Int32Array.from([2, 2, 2, 2, 1]))).toBeCloseTo(-Math.log2(one), 10);
  });
});

describe('The training of the writers', () => {
  beforeAll(() => startBackend('cpu'));

  it('has the gradients that TensorFlow.js finds by itself', () => {
    const [count, steps, begin] = [3, 4, 2];
    const weights = Object.fromEntries(
      Object.entries(WEIGHTS).map(([name, shape], i) => [
        name,
        tf.variable(tf.randomUniform(shape, -0.5, 0.5, 'float32', i + 1)),
      ]),
    ) as Record<WeightName, tf.Variable<tf.Rank.R2>>;
    const { input, bias, recurrent, output, outputBias } = weights;
    const text = Int32Array.from({ length: 30 }, (_, i) => (7 * i) % VOCABULARY.length);
    const before = tf.randomUniform<tf.Rank.R2>([count, UNITS], -1, 1, 'float32', 9);
    const { loss, last, gradients } = learn(passagesOf(text, count), begin, steps, before, weights);

    /** Of the passages, which begin at 0, 9 and 18. */
    const characters = (at: number) =>
      tf.oneHot(
        [0, 9, 18].map((passage) => text[passage + at] ?? NaN),
        VOCABULARY.length,
      );
    let state = before;
    const { value, grads } = tf.variableGrads(() => {
      const losses = Array.from({ length: steps }, (_, i) => {
        const added = tf.add(tf.matMul(tf.cast(characters(begin + i), 'float32'), input), bias);
        const products = tf.matMul(state, recurrent);
        state = tf.keep(
          unit(tf, tf.split(added as tf.Tensor2D, 3, 1), tf.split(products as tf.Tensor2D, 3, 1), state).next,
        );
        const scores = tf.add(tf.matMul(state, output), outputBias);
        return tf.losses.softmaxCrossEntropy(characters(begin + i + 1), scores);
      });
      return tf.div(tf.addN(losses), steps);
    });
    expect(loss.dataSync()[0]).toBeCloseTo(value.dataSync()[0] ?? NaN, 5);
    expect(difference(last, state)).toBeLessThan(1e-6);
    for (const [name, gradient] of Object.entries(gradients)) {
      const expected = grads[weights[name as WeightName].name] ?? tf.scalar(NaN);
      expect(tf.max(tf.abs(expected)).dataSync()[0]).toBeGreaterThan(1e-3);
      expect(difference(gradient, expected)).toBeLessThan(1e-6);
    }
  });

  it('measures the network that the inference worker runs', async () => {
    const [weights, loaded] = [await readWeights(tf), await load(tf)];
    const text = Int32Array.from({ length: 65 }, (_, i) => (11 * i) % VOCABULARY.length);
    // 32 passages of two characters.
    let state = tf.zeros<tf.Rank.R2>([32, UNITS]);
    let nats = 0;
    for (let at = 0; at < 2; at++) {
      const characters = (from: number) =>
        text.filter((_, i) => i >= from && (i - from) % 2 === 0).slice(0, 32);
      const { scores, state: next } = run(tf, { token: tf.tensor1d(characters(at), 'int32'), state }, loaded);
      const expected = tf.oneHot(tf.tensor1d(characters(at + 1), 'int32'), VOCABULARY.length);
      nats += tf.losses.softmaxCrossEntropy(expected, scores).dataSync()[0] ?? NaN;
      state = next;
    }
    expect(bitsOf(text, weights)).toBeCloseTo(nats / 2 / Math.LN2, 4);
  });
});

describe('The committed network of the writers', () => {
  beforeAll(() => startBackend('wasm'));

  // As a split along columns does on wasm; its copies made the worker collect garbage for milliseconds every 40 steps.
  it('copies nothing into the memory of JavaScript in a step', async () => {
    const loaded = await load(tf);
    const read = jest.spyOn(tf.backend(), 'readSync');
    run(tf, { token: tf.zeros([64], 'int32'), state: tf.zeros([64, UNITS]) }, loaded);
    expect(read).not.toHaveBeenCalled();
    read.mockRestore();
  });

  it('is the one of its card, and predicts chapters that it has not read better than the 5-gram model', async () => {
    const folder = new URL('../apps/writers/model/', import.meta.url);
    const card = await readFile(new URL('README.md', folder), 'utf8');
    const [, bits = '', fiveGram = ''] =
      /\*\*([\d.]+) bits per character\*\*; a 5-gram model of the same text: ([\d.]+)/.exec(card) ?? [];
    const bytes = await readFile(new URL('weights.bin', folder));
    expect(card).toContain(createHash('sha256').update(bytes).digest('hex'));

    const { heldOut } = await readBook();
    const measured = bitsOf(heldOut, await readWeights(tf));
    expect(measured).toBeCloseTo(Number(bits), 3);
    expect(measured).toBeLessThan(Number(fiveGram) - 0.05);
  });
});

/** The greatest difference of two numbers at the same place. */
function difference(one: tf.Tensor, other: tf.Tensor): number {
  return tf.max(tf.abs(tf.sub(one, other))).dataSync()[0] ?? NaN;
}
