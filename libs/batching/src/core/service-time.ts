/** Share that a batch keeps in what has been learned when the next one ends: about the last twenty count. */
const MEMORY = 0.95;

/**
 * Learns s(n) = a · n + b, the milliseconds that a batch of n takes, by least squares with forgetting.
 *
 * Where batch sizes hardly differ, the slope cannot be told from noise; a ridge of 5 % of the size draws it to 0, so
 * that the estimate becomes the mean and is right for the sizes that do occur.
 */
export class ServiceTime {
  #weight = 0;
  #size = 0;
  #ran = 0;
  #sizeSquared = 0;
  #sizeRan = 0;
  /** Milliseconds by which a batch has differed from what was expected, on average. */
  deviation = 0;

  record(size: number, ran: number): void {
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
}
