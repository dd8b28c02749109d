/** Share that a batch keeps in what has been learned when the next one ends: about the last twenty count. */
const MEMORY = 0.95;
/** A run that takes so many times as long as expected, or as short, is a surprise … */
const SURPRISE = 4;
/** … and one of another size, if it takes more than in proportion to the size by this factor … */
const PROPORTION = 1.25;
/** … unless the difference is within so many mean deviations, or so few milliseconds: timers and the garbage collector. */
const DEVIATIONS = 4;
const TRIFLE = 10;
/** What has been learned is trusted for so many milliseconds, and runs, in which no batch ends … */
const TRUSTED = 1000;
const TRUSTED_RUNS = 2;
/** … and half as much with each time that lasts so many times as long. */
const HALF_LIFE = 10;

/**
 * Learns s(n) = a · n + b, the milliseconds that a batch of n takes, by least squares with forgetting.
 *
 * Where batch sizes hardly differ, the slope cannot be distinguished from noise; a ridge of 5 % of the size draws it to 0, so
 * that the estimate becomes the mean and is right for the sizes that do occur.
 *
 * One surprise (a database that hung, a process that was paused) counts for no more than the bound of what is none.
 * With the second in a row all that was known before is forgotten: the load has changed.
 */
export class ServiceTime {
  #weight = 0;
  #size = 0;
  #ran = 0;
  #sizeSquared = 0;
  #sizeRan = 0;
  /** Milliseconds by which a batch has differed from what was expected, on average. */
  deviation = 0;
  #recordedAt = 0;
  /** Whether the last run was a surprise, and when the last surprise ended. */
  #isSurprised = false;
  #surprisedAt = -Infinity;

  /** A batch of `size` has ended `now`, having run for `ran` milliseconds. */
  record(size: number, ran: number, now: number): void {
    // Under a clock that has been replaced while the batch ran, as in a test.
    if (ran < 0) return;
    this.#recordedAt = now;
    const likely = this.#likely(size);
    const isSurprise = ran < likely.least || ran > likely.most;
    if (isSurprise) {
      // Batches that ran at the same time have met the same stall: together they are one surprise.
      if (now - ran < this.#surprisedAt) return;
      this.#surprisedAt = now;
      if (this.#isSurprised || this.#weight === 1) this.#weight = this.deviation = 0;
    }
    this.#isSurprised = isSurprise;
    this.#learn(size, this.isKnown ? Math.min(Math.max(ran, likely.least), likely.most) : ran);
  }

  /** Between what a run of `size` is no surprise. Times may grow with the size, though no such size has been seen. */
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

  /** Whether anything has been learned. */
  get isKnown(): boolean {
    return this.#weight > 0;
  }

  /** Milliseconds that a batch of `size` is expected to take; 0 while nothing is known. */
  of(size: number): number {
    const variance = this.#sizeSquared - this.#size * this.#size + (0.05 * this.#size) ** 2;
    const covariance = this.#sizeRan - this.#size * this.#ran;
    const steepest = this.#size > 0 ? this.#ran / this.#size : 0;
    const slope = variance > 0 ? Math.min(Math.max(covariance / variance, 0), steepest) : 0;
    return Math.max(0, this.#ran + slope * (size - this.#size));
  }

  /** How far what has been learned may be relied on: 1, and down to 0 when no batch has ended for long. */
  trust(now: number): number {
    const trusted = Math.max(TRUSTED, TRUSTED_RUNS * this.#ran);
    return 0.5 ** (Math.max(0, now - this.#recordedAt - trusted) / (HALF_LIFE * trusted));
  }
}
