import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { randomNumbers } from '@app/figures';
import * as tf from '@tensorflow/tfjs';
import { BatchedService, BatchingRegistry } from 'nest-batching';
import type { Action, Observation } from './cart-pole.js';

/** How many sessions play side by side. A batch with an observation of each is full, and leaves at once. */
export const SESSIONS = 100;

export class NetworkSettings {
  constructor(
    /** Units in each of the two hidden layers. */
    readonly hidden: number,
    /** The same one makes the same weights and draws the same actions. */
    readonly seed: number,
  ) {}
}

/** What all sessions play by: a network of two halves, the actor, which chooses, and the critic, which only learns. */
@Injectable()
export class PolicyNetwork implements OnApplicationShutdown {
  /** An observation to two logits, one per action. */
  readonly actor: DenseLayers;
  /** An observation to what can still be gained from there. */
  readonly critic: DenseLayers;
  /** Whether actions are drawn by their probabilities, as it takes to learn; otherwise the likelier one is taken. */
  explores = true;
  readonly #random: () => number;

  constructor(
    @Inject(NetworkSettings) { hidden, seed }: NetworkSettings,
    @Inject(BatchingRegistry) private readonly registry: BatchingRegistry,
  ) {
    // A small last layer: at the beginning both actions are about equally likely.
    this.actor = new DenseLayers([4, hidden, hidden, 2], 0.01, seed);
    this.critic = new DenseLayers([4, hidden, hidden, 1], 1, seed + 100);
    this.#random = randomNumbers(seed);
  }

  /**
   * Here the observations of all sessions meet; through `Batched<PolicyNetwork>`, each gives one and gets its own action. The
   * delay counts only when some sessions have ended: the others would wait a millisecond in an emptier batch.
   */
  @BatchedService(SESSIONS, 1)
  async act(observations: readonly Observation[]): Promise<Action[]> {
    const logits = tf.tidy(() => this.actor.apply(toTensor(observations)));
    const values = await logits.data();
    logits.dispose();
    return observations.map((_, i) => this.#choose(values[2 * i] ?? NaN, values[2 * i + 1] ?? NaN));
  }

  #choose(left: number, right: number): Action {
    const chance = this.explores ? this.#random() : 0.5;
    return chance < 1 / (1 + Math.exp(left - right)) ? 1 : 0;
  }

  /** Batches that still wait need the weights, so the queues stop first. */
  async onApplicationShutdown(): Promise<void> {
    await this.registry.stop();
    tf.dispose([this.actor.weights, this.critic.weights]);
  }
}

/** Dense layers with ReLU between them. */
export class DenseLayers {
  /** Each layer's matrix and bias, one layer after the other. */
  readonly weights: tf.Variable[];

  /** @param lastScale how much smaller the last layer's weights begin than is usual */
  constructor(widths: readonly number[], lastScale: number, seed: number) {
    this.weights = widths.slice(1).flatMap((width, layer) => {
      const inputs = widths[layer] ?? NaN;
      // He et al. (2015): with these, values neither grow nor shrink from layer to layer.
      const deviation = Math.sqrt(2 / inputs) * (layer === widths.length - 2 ? lastScale : 1);
      return tf.tidy(() => [
        tf.variable(tf.randomNormal([inputs, width], 0, deviation, 'float32', seed + layer)),
        tf.variable(tf.zeros([width])),
      ]);
    });
  }

  /** [n, inputs] → [n, outputs] */
  apply(inputs: tf.Tensor2D): tf.Tensor2D {
    let values = inputs;
    for (let i = 0; i < this.weights.length; i += 2) {
      if (i > 0) values = values.relu();
      values = multiply(values, this.weights[i] as tf.Tensor).add(this.weights[i + 1] as tf.Tensor);
    }
    return values;
  }
}

/**
 * `tf.matMul` with a gradient that transposes before it multiplies. The original one leaves that to the multiplication,
 * for which the wasm backend has only a slow loop: learning took twice as long.
 */
const multiply = tf.customGrad((...[a, b, save]) => {
  const factors = [a, b] as [tf.Tensor2D, tf.Tensor2D];
  (save as tf.GradSaveFunc)(factors);
  return {
    value: tf.matMul<tf.Tensor2D>(...factors),
    gradFunc: (dy, saved) => {
      const [x, y] = saved as typeof factors;
      return [dy.matMul(y.transpose()), x.transpose().matMul(dy)];
    },
  };
});

/** [n, 4] */
export function toTensor(observations: readonly Observation[]): tf.Tensor2D {
  return tf.tensor2d(Float32Array.from(observations.flat()), [observations.length, 4]);
}
