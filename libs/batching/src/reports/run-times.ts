/** Factor on the weight of past batches at the end of each: about the last two hundred count. */
const MEMORY = 0.995;
/** Batches before which nothing is said: a few of one size tell nothing of others. */
const LEAST = 10;
/** From this weight on, a time is limited to a multiple of what was expected … */
const KNOWN = 5;
/** … of this size, so that one stall does not count for minutes … */
const SURPRISE = 4;
/** … and this many milliseconds more, which timers and the garbage collector may take. */
const TRIFLE = 10;
/** Share of the mean size by which the slope is drawn towards proportionality. */
const RIDGE = 0.1;

/** s(n) = perInput · n + perBatch: the milliseconds that a batch of n inputs takes, and how far they vary. */
export interface RunTimeCurve {
  readonly perInput: number;
  readonly perBatch: number;
  /** Standard deviation of a run from s(n), in milliseconds. */
  readonly deviation: number;
}

/**
 * Learns how long batches take from their reports, by least squares with forgetting, to extrapolate to sizes
 * that have not run yet. The queue's own estimate serves another purpose: it follows the last twenty batches,
 * and where sizes hardly differ it takes larger batches to be as fast. Here they are then taken to be
 * proportionally slower, so that no capacity is promised that was not seen.
 */
export class RunTimes {
  #weight = 0;
  #size = 0;
  #ran = 0;
  #sizeSquared = 0;
  #sizeRan = 0;
  #ranSquared = 0;
  #batches = 0;

  /** @param ran milliseconds that a batch of `size` inputs took */
  record(size: number, ran: number): void {
    const expected = this.#of(size);
    const learned = this.#weight < KNOWN ? ran : Math.min(ran, SURPRISE * expected + TRIFLE);
    this.#batches++;
    this.#weight = this.#weight * MEMORY + 1;
    const share = 1 / this.#weight;
    this.#size += (size - this.#size) * share;
    this.#ran += (learned - this.#ran) * share;
    this.#sizeSquared += (size * size - this.#sizeSquared) * share;
    this.#sizeRan += (size * learned - this.#sizeRan) * share;
    this.#ranSquared += (learned * learned - this.#ranSquared) * share;
  }

  /** What was learned; `undefined` before the first ten batches. */
  get curve(): RunTimeCurve | undefined {
    if (this.#batches < LEAST) return undefined;
    const perInput = this.#slope;
    const perBatch = Math.max(0, this.#ran - perInput * this.#size);
    // Around the present line: deviations from earlier ones were errors of the estimate.
    const variance =
      this.#ranSquared -
      this.#ran * this.#ran -
      2 * perInput * this.#covariance +
      perInput * perInput * this.#sizeVariance;
    return { perInput, perBatch, deviation: Math.sqrt(Math.max(0, variance)) };
  }

  get #sizeVariance(): number {
    return Math.max(0, this.#sizeSquared - this.#size * this.#size);
  }

  get #covariance(): number {
    return this.#sizeRan - this.#size * this.#ran;
  }

  get #slope(): number {
    const proportional = this.#ran / this.#size;
    const ridge = (RIDGE * this.#size) ** 2;
    const slope = (this.#covariance + ridge * proportional) / (this.#sizeVariance + ridge);
    return Math.min(Math.max(slope, 0), proportional);
  }

  #of(size: number): number {
    if (this.#weight === 0) return 0;
    return Math.max(0, this.#ran + this.#slope * (size - this.#size));
  }
}
