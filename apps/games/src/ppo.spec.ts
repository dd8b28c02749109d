import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs';
import type { Observation } from './cart-pole.js';
import { DenseLayers, NetworkSettings } from './policy-network.js';
import { advantages, logProbabilities, policyLoss, Ppo, type Transition } from './ppo.js';

tf.enableProdMode();
await tf.setBackend('cpu');

beforeEach(() => {
  tf.engine().startScope();
});
afterEach(() => {
  tf.engine().endScope();
});

/** What came after each step: the game went on, was lost, or ran out of time. */
const on = { reward: 1, terminated: false, truncated: false };
const lost = { reward: 1, terminated: true, truncated: false };
const late = { reward: 1, terminated: false, truncated: true };

// The discount is 0.99, and times the trace of 0.95 it is 0.9405.
describe('advantages', () => {
  it('adds what surprises later, less and less', () => {
    // 1 + 0.99·9 - 10 = -0.09; 1 + 0.99·8 - 9 = -0.08; 1 + 0.99·7 - 8 = -0.07
    const expected = [-0.09 + 0.9405 * (-0.08 + 0.9405 * -0.07), -0.08 + 0.9405 * -0.07, -0.07];
    expectClose(advantages([on, on, on], [10, 9, 8], [9, 8, 7]), expected);
    expectClose(expected, [-0.227_157_817_5, -0.145_835, -0.07]);
  });

  it('expects nothing after a game that was lost, and nothing of the next game', () => {
    // 1 + 0 - 9 = -8, whatever the critic says of the fallen pole.
    expectClose(advantages([on, lost, on], [10, 9, 8], [9, 100, 7]), [-0.09 + 0.9405 * -8, -8, -0.07]);
  });

  it('expects after a game without time left what the critic does, and nothing of the next game', () => {
    // 1 + 0.99·100 - 9 = 91
    expectClose(advantages([on, late, on], [10, 9, 8], [9, 100, 7]), [-0.09 + 0.9405 * 91, 91, -0.07]);
  });
});

describe('the policy loss', () => {
  it('follows the chance of an action by 20 % and no further', async () => {
    const before = tf.tensor1d([0, 0, 0, 0, 0, 0]);
    const after = tf.tensor1d([1.5, 1.1, 0.5, 0.5, 0.9, 1.5].map(Math.log));
    const gains = tf.tensor1d([1, 2, 1, -1, -1, -1]);
    // The smaller of ratio · gain and clipped ratio · gain: 1.2, 2.2, 0.5, -0.8, -0.9, -1.5
    expectClose(await policyLoss(after, before, gains).data(), [-(1.2 + 2.2 + 0.5 - 0.8 - 0.9 - 1.5) / 6]);
    // Where the clipped one is smaller, there is nothing to gain; elsewhere the slope is -ratio · gain / 6.
    const slope = tf.grad((x) => policyLoss(x as tf.Tensor1D, before, gains))(after);
    expectClose(await slope.data(), [0, -2.2 / 6, -0.5 / 6, 0, 0.9 / 6, 1.5 / 6]);
  });

  it('starts from the logarithms of the chances', async () => {
    const logits = tf.tensor2d([0, 0, 0, Math.log(3), 0, Math.log(3)], [3, 2]);
    const actions = tf.tensor2d([1, 0, 1, 0, 0, 1], [3, 2]);
    const expected = [1 / 2, 1 / 4, 3 / 4].map(Math.log);
    expectClose(await logProbabilities(logits, actions).data(), expected);
  });
});

describe('the dense layers', () => {
  it('give what plain matMul does, and the same gradients', async () => {
    const layers = new DenseLayers([4, 5, 3, 2], 1, 7);
    const { weights } = layers;
    expect(weights.map(({ shape }) => shape)).toEqual([[4, 5], [5], [5, 3], [3], [3, 2], [2]]);
    for (const weight of weights) weight.assign(tf.randomNormal(weight.shape, 0, 1, 'float32', 1));
    const inputs = tf.randomNormal<tf.Rank.R2>([6, 4], 0, 1, 'float32', 2);
    const plain = () => {
      const [w1, b1, w2, b2, w3, b3] = weights as tf.Tensor[] as [A, B, A, B, A, B];
      return inputs.matMul(w1).add(b1).relu().matMul(w2).add(b2).relu().matMul(w3).add(b3);
    };
    expectClose(await layers.apply(inputs).data(), await plain().data());
    const { grads } = tf.variableGrads(() => layers.apply(inputs).square().mean(), weights);
    const expected = tf.variableGrads(() => plain().square().mean(), weights).grads;
    for (const { name } of weights) expectClose(await grads[name]?.data(), await expected[name]?.data());
  });
});

describe('learning', () => {
  const seen: Observation = [0.01, 0.02, 0.03, 0.04];
  const right: Transition = { observation: seen, action: 1, next: seen, gained: 1, ...on };
  const left: Transition = { observation: seen, action: 0, next: seen, gained: 1, ...lost };
  const rollouts = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? [right, right] : [right, left]));

  it('makes the action likelier that brought more, step by step, and frees what it used', async () => {
    const network = { actor: new DenseLayers([4, 8, 2], 0.01, 1), critic: new DenseLayers([4, 8, 1], 1, 2) };
    const ppo = new Ppo(network, new NetworkSettings(8, 1));
    const input = tf.tensor2d([[...seen]]);
    const chance = () => tf.tidy(() => tf.softmax(network.actor.apply(input)).dataSync()[1] ?? NaN);
    const value = () => tf.tidy(() => network.critic.apply(input).dataSync()[0] ?? NaN);
    const chances = [chance()];
    const values = [value()];
    const tensors = new Set<number>();
    for (let update = 0; update < 5; update++) {
      await ppo.learn(rollouts);
      // The first update leaves the optimizer's moments.
      tensors.add(tf.memory().numTensors);
      chances.push(chance());
      values.push(value());
    }
    expect(chances[0]).toBeCloseTo(0.5, 1);
    expect(chances).toEqual(chances.toSorted((a, b) => a - b));
    expect(chances.at(-1)).toBeGreaterThan(0.52);
    // A step brings 1, and three of four steps are followed by another.
    expect(values).toEqual(values.toSorted((a, b) => a - b));
    expect(values.at(-1)).toBeLessThan(1 / (1 - 0.75 * 0.99));
    expect(tensors.size).toBe(1);
  });
});

/** A layer's matrix, and its bias. */
type A = tf.Tensor2D;
type B = tf.Tensor1D;

function expectClose(received: ArrayLike<number> | undefined, expected: ArrayLike<number> | undefined): void {
  expect(received).toHaveLength(expected?.length ?? NaN);
  Array.from(expected ?? []).forEach((value, i) => {
    expect(received?.[i]).toBeCloseTo(value, 5);
  });
}
