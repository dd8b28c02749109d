/**
 * CartPole-v1 with the constants and the equations of OpenAI Gym, in its order, so that it computes the same numbers:
 * https://github.com/openai/gym/blob/master/gym/envs/classic_control/cartpole.py, and for the limit of 500 steps
 * https://github.com/openai/gym/blob/master/gym/envs/__init__.py. The problem is from Barto, Sutton and Anderson,
 * "Neuronlike Adaptive Elements That Can Solve Difficult Learning Control Problems" (1983).
 */

/** The cart's position (m, from the middle) and velocity (m/s), the pole's angle (rad, clockwise) and velocity (rad/s). */
export type Observation = readonly [
  position: number,
  velocity: number,
  angle: number,
  angularVelocity: number,
];

/** Push the cart to the left (0) or to the right (1). */
export type Action = 0 | 1;

/** What came of an action. */
export interface Step {
  readonly next: Observation;
  /** 1 for every step, the last one included. */
  readonly reward: number;
  /** The rewards of this game so far; after the last step, its return. */
  readonly gained: number;
  /** The pole fell, or the cart left the track. */
  readonly terminated: boolean;
  /** The time was over, while the pole still stood. */
  readonly truncated: boolean;
}

/** Seconds between two steps. */
export const TIME_STEP = 0.02;
export const MAX_STEPS = 500;
/** Metres from the middle; a cart beyond has left the track. */
export const TRACK_LIMIT = 2.4;
/** Radians, 12°; a pole beyond has fallen. */
export const ANGLE_LIMIT = (12 * 2 * Math.PI) / 360;

const GRAVITY = 9.8;
const CART_MASS = 1.0;
const POLE_MASS = 0.1;
const TOTAL_MASS = POLE_MASS + CART_MASS;
const HALF_POLE_LENGTH = 0.5;
const POLE_MASS_LENGTH = POLE_MASS * HALF_POLE_LENGTH;
const FORCE = 10.0;

/** One game after the other. */
export class CartPole {
  readonly #random: () => number;
  #observation: Observation = [0, 0, 0, 0];
  #steps = 0;
  #isOver = false;

  /** @param random gives numbers from 0 (included) to 1 (excluded) */
  constructor(random: () => number) {
    this.#random = random;
    this.reset();
  }

  get observation(): Observation {
    return this.#observation;
  }

  /** Whether the game is over, and only `reset` leads on. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Begins a new game, by default with all four values drawn from ±0.05. */
  reset(start?: Observation): void {
    const draw = () => 0.1 * this.#random() - 0.05;
    this.#observation = start ?? [draw(), draw(), draw(), draw()];
    this.#steps = 0;
    this.#isOver = false;
  }

  /** @throws Error when the game is over */
  step(action: Action): Step {
    if (this.#isOver) throw new Error('the game is over: reset() it before the next step()');
    const [position, velocity, angle, angularVelocity] = this.#observation;
    const force = action === 1 ? FORCE : -FORCE;
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    const push = (force + POLE_MASS_LENGTH * (angularVelocity * angularVelocity) * sin) / TOTAL_MASS;
    const angularAcceleration =
      (GRAVITY * sin - cos * push) /
      (HALF_POLE_LENGTH * (4.0 / 3.0 - (POLE_MASS * (cos * cos)) / TOTAL_MASS));
    const acceleration = push - (POLE_MASS_LENGTH * angularAcceleration * cos) / TOTAL_MASS;
    // Euler's method: all four go on from the old values.
    const next: Observation = [
      position + TIME_STEP * velocity,
      velocity + TIME_STEP * acceleration,
      angle + TIME_STEP * angularVelocity,
      angularVelocity + TIME_STEP * angularAcceleration,
    ];
    const terminated = Math.abs(next[0]) > TRACK_LIMIT || Math.abs(next[2]) > ANGLE_LIMIT;
    // Gym may say both of a last step; here the fall counts.
    const truncated = ++this.#steps === MAX_STEPS && !terminated;
    this.#observation = next;
    this.#isOver = terminated || truncated;
    return { next, reward: 1, gained: this.#steps, terminated, truncated };
  }
}
