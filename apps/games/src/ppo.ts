import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { randomNumbers } from '@app/figures';
import * as tf from '@tensorflow/tfjs';
import type { Action, Observation, Step } from './cart-pole.js';
import { type DenseLayers, NetworkSettings, PolicyNetwork, toTensor } from './policy-network.js';

/** One step of a game: what was seen, what was done, and what came of it. */
export interface Transition extends Step {
  readonly observation: Observation;
  readonly action: Action;
}

// Discount, trace and clip are those of the papers named below; the others make 100 sessions learn within seconds.
/** What a reward is worth when it comes one step later. */
const DISCOUNT = 0.99;
/** How much of an advantage is what was gained later: 0 trusts the critic alone, 1 the game alone. */
const TRACE = 0.95;
/** By how much the chance of an action may change, against when it was played, before learning from it ends. */
const CLIP = 0.2;
/** How often each transition is learned from. */
const EPOCHS = 3;
const MINIBATCH = 400;
const LEARNING_RATE = 0.004;

/** Learns from games: proximal policy optimization, Schulman et al. (2017), https://arxiv.org/abs/1707.06347. */
@Injectable()
export class Ppo implements OnApplicationShutdown {
  readonly #optimizer = tf.train.adam(LEARNING_RATE);
  readonly #random: () => number;

  constructor(
    @Inject(PolicyNetwork) private readonly network: Pick<PolicyNetwork, 'actor' | 'critic'>,
    @Inject(NetworkSettings) { seed }: NetworkSettings,
  ) {
    this.#random = randomNumbers(seed);
  }

  /** Improves the policy by what was just played with it: a rollout per session, its transitions in order. */
  async learn(rollouts: readonly (readonly Transition[])[]): Promise<void> {
    const transitions = rollouts.flat();
    const { actor, critic } = this.network;
    const observations = toTensor(transitions.map(({ observation }) => observation));
    const values = await valuesOf(critic, observations);
    const next = toTensor(transitions.map((transition) => transition.next));
    const nextValues = await valuesOf(critic, next);

    let from = 0;
    const gains = rollouts.flatMap((rollout) => {
      const to = from + rollout.length;
      const gained = advantages(rollout, values.subarray(from, to), nextValues.subarray(from, to));
      from = to;
      return gained;
    });
    const played = tf.tidy(() => {
      const actions = tf.oneHot(
        transitions.map(({ action }) => action),
        2,
      );
      return {
        observations,
        actions: actions.toFloat() as tf.Tensor2D,
        logProbabilities: logProbabilities(actor.apply(observations), actions as tf.Tensor2D),
        advantages: tf.tensor1d(gains),
        returns: tf.tensor1d(gains.map((gain, i) => gain + (values[i] ?? NaN))),
      };
    });
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const order = shuffled(transitions.keys(), this.#random);
      for (let i = 0; i < order.length; i += MINIBATCH) this.#improve(played, order.slice(i, i + MINIBATCH));
    }
    tf.dispose([played, next]);
  }

  onApplicationShutdown(): void {
    this.#optimizer.dispose();
  }

  #improve(played: Played, chosen: number[]): void {
    const { actor, critic } = this.network;
    tf.tidy(() => {
      const indices = tf.tensor1d(chosen, 'int32');
      const pick = <T extends tf.Tensor>(tensor: T) => tf.gather(tensor, indices);
      const observations = pick(played.observations);
      const actions = pick(played.actions);
      const before = pick(played.logProbabilities);
      const returns = pick(played.returns);
      const gains = standardized(pick(played.advantages));
      const loss = () => {
        const after = logProbabilities(actor.apply(observations), actions);
        const valueLoss = critic.apply(observations).flatten().sub(returns).square().mean();
        return policyLoss(after, before, gains).add<tf.Scalar>(valueLoss);
      };
      this.#optimizer.minimize(loss, false, [...actor.weights, ...critic.weights]);
    });
  }
}

/** All that is learned from, a row for each transition. */
interface Played {
  readonly observations: tf.Tensor2D;
  /** One-hot. */
  readonly actions: tf.Tensor2D;
  /** Of the actions, by the policy that played them. */
  readonly logProbabilities: tf.Tensor1D;
  readonly advantages: tf.Tensor1D;
  readonly returns: tf.Tensor1D;
}

/**
 * How much better each action turned out than what the critic expected of its observation: generalized advantage
 * estimation, Schulman et al. (2015), https://arxiv.org/abs/1506.02438.
 *
 * @param values what the critic expects of each transition's observation
 * @param nextValues and of what was seen after it
 */
export function advantages(
  rollout: readonly Pick<Transition, 'reward' | 'terminated' | 'truncated'>[],
  values: ArrayLike<number>,
  nextValues: ArrayLike<number>,
): number[] {
  const result: number[] = [];
  let later = 0;
  for (const [i, { reward, terminated, truncated }] of [...rollout.entries()].reverse()) {
    // After a fall nothing is to be gained; where merely the time was over, more would have been.
    const toCome = terminated ? 0 : (nextValues[i] ?? NaN);
    const surprise = reward + DISCOUNT * toCome - (values[i] ?? NaN);
    // The transition after a game's last one belongs to another game.
    later = surprise + (terminated || truncated ? 0 : DISCOUNT * TRACE * later);
    result.unshift(later);
  }
  return result;
}

/** What PPO makes small: the mean advantage by the new chances of the actions, as far as these may change, negated. */
export function policyLoss(after: tf.Tensor1D, before: tf.Tensor1D, gains: tf.Tensor1D): tf.Scalar {
  const ratio = after.sub(before).exp();
  const clipped = ratio.clipByValue(1 - CLIP, 1 + CLIP);
  return tf.minimum(ratio.mul(gains), clipped.mul(gains)).mean<tf.Scalar>().neg();
}

/** Of the actions that were taken: [n, 2], one-hot → [n] */
export function logProbabilities(logits: tf.Tensor2D, actions: tf.Tensor2D): tf.Tensor1D {
  return tf.logSoftmax(logits).mul(actions).sum(1);
}

async function valuesOf(critic: DenseLayers, observations: tf.Tensor2D): Promise<Float32Array> {
  const tensor = tf.tidy(() => critic.apply(observations));
  const values = await tensor.data<'float32'>();
  tensor.dispose();
  return values;
}

function standardized(values: tf.Tensor1D): tf.Tensor1D {
  const { mean, variance } = tf.moments(values);
  return values.sub(mean).div(variance.sqrt().add(1e-8));
}

/** A copy in random order (Fisher and Yates). */
function shuffled<Item>(items: Iterable<Item>, random: () => number): Item[] {
  const order = [...items];
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other] as Item, order[last] as Item];
  }
  return order;
}
