/** Factor on the weight of past batches at the end of each batch: about the last twenty count. */
const MEMORY = 0.95;
/**
 * A run is a surprise if it takes this many times as long as expected, or a fraction of one in this many …
 */
const SURPRISE = 4;
/** … or, for another batch size, if it exceeds the growth in proportion to the size by this factor … */
const PROPORTION = 1.25;
/** … unless the difference is within this many mean deviations … */
const DEVIATIONS = 4;
/** … or within this many milliseconds, which timers and the garbage collector may take. */
const TRIFLE = 10;
/** Milliseconds for which the estimate is fully trusted although no batch ends … */
const TRUSTED = 1000;
/** … or this many mean run times, if they are longer … */
const TRUSTED_RUNS = 2;
/** … and after which trust halves in every period of this many times that length. */
const HALF_LIFE = 10;
/** Share of the size by which the slope is drawn to 0. */
const RIDGE = 0.15;

/**
 * Estimates s(n) = α n + β, the milliseconds that a batch of n inputs takes, by least squares with
 * forgetting.
 *
 * If batch sizes hardly differ, the slope cannot be distinguished from noise. A ridge of 15 % of the mean size
 * pulls it to 0 then, so that the estimate is the mean, which is right for the sizes that do occur.
 *
 * One surprise (a database that hung, a process that was paused) is clipped to the largest time that is no
 * surprise. A second one in a row means that the load has changed: everything learned before is forgotten.
 */
export class ServiceTime {
  #weight = 0;
  #size = 0;
  #ran = 0;
  #sizeSquared = 0;
  #sizeRan = 0;
  /** Mean absolute difference between the time of a run and the estimate, in milliseconds. */
  deviation = 0;
  #recordedAt = 0;
  /** Whether the last run was a surprise. */
  #isSurprised = false;
  /** When the last surprise ended. */
  #surprisedAt = -Infinity;

  /** Learns from a batch of `size` inputs that has ended after a run of `ran` milliseconds. */
  record(size: number, ran: number, now: number): void {
    // The clock was replaced while the batch ran, as tests do.
    if (ran < 0) return;
    this.#recordedAt = now;
    const likely = this.#likely(size);
    const isSurprise = ran < likely.least || ran > likely.most;
    if (isSurprise) {
      // Batches that ran at the same time met the same stall: together they are one surprise.
      if (now - ran < this.#surprisedAt) return;
      this.#surprisedAt = now;
      if (this.#isSurprised || this.#weight === 1) this.#weight = this.deviation = 0;
    }
    this.#isSurprised = isSurprise;
    this.#learn(size, this.isKnown ? Math.min(Math.max(ran, likely.least), likely.most) : ran);
  }

  /**
   * Bounds between which the time of a run is no surprise; they allow for growth in proportion to the size.
   */
  #likely(size: number): { least: number; most: number } {
    if (!this.isKnown) return { least: 0, most: Infinity };
    const expected = this.of(size);
    const growth = size / this.#size;
    const noise = DEVIATIONS * this.deviation;
    return {
      least: Math.min(expected * Math.min(1 / SURPRISE, growth / PROPORTION) - noise, expected - TRIFLE),
      most: Math.max(expected * Math.max(SURPRISE, growth * PROPORTION) + noise, expected + TRIFLE),
    };
  }

  #learn(size: number, ran: number): void {
    const error = this.isKnown ? Math.abs(ran - this.of(size)) : 0;
    this.#weight = this.#weight * MEMORY + 1;
    const share = 1 / this.#weight;
    this.deviation += (error - this.deviation) * share;
    this.#size += (size - this.#size) * share;
    this.#ran += (ran - this.#ran) * share;
    this.#sizeSquared += (size * size - this.#sizeSquared) * share;
    this.#sizeRan += (size * ran - this.#sizeRan) * share;
  }

  get isKnown(): boolean {
    return this.#weight > 0;
  }

  /** Expected milliseconds of a batch of `size` inputs; 0 while nothing is known. */
  of(size: number): number {
    const variance = this.#sizeSquared - this.#size * this.#size + (RIDGE * this.#size) ** 2;
    const covariance = this.#sizeRan - this.#size * this.#ran;
    const steepest = this.#size > 0 ? this.#ran / this.#size : 0;
    const slope = variance > 0 ? Math.min(Math.max(covariance / variance, 0), steepest) : 0;
    return Math.max(0, this.#ran + slope * (size - this.#size));
  }

  /** Factor on the estimate: 1, falling towards 0 while no batch ends for a long time. */
  trust(now: number): number {
    const trusted = Math.max(TRUSTED, TRUSTED_RUNS * this.#ran);
    return 0.5 ** (Math.max(0, now - this.#recordedAt - trusted) / (HALF_LIFE * trusted));
  }
}
