/** Share that an observation keeps when the next of its kind comes: about the last ten count. */
const MEMORY = 0.9;
/** Variance of a steady census, as a share of its mean beyond the one that waits. */
const DISPERSION = 0.3;
/** Decisions for which a census must be steady before it is taken for more than chance. */
const SETTLED = 8;
/** Batches that are shifted together with one of a steady crowd. */
const SHIFTED = 10;

/** How many inputs are there at a time, and how many of the answered callers come back. */
export class Census {
  /** Grows each time that the census has become steady anew, since these may be other callers. */
  crowds = 0;
  #steadyFor = 0;
  #mean = 0;
  #variance = 0;
  /** Inputs of the latest batch, and of those that came within a run of its end. */
  #answered = 0;
  #back = 0;
  #backUntil = -Infinity;
  /** The same of earlier batches, with forgetting. */
  #answers = 0;
  #backs = 0;

  record(present: number): void {
    this.#mean ||= present;
    const surplus = present - this.#mean;
    this.#mean += surplus / 2;
    this.#variance = (this.#variance + (surplus * surplus) / 2) / 2;
    this.#steadyFor = this.isSteady && this.all > 1 ? this.#steadyFor + 1 : 0;
    if (this.#steadyFor === SETTLED) this.crowds++;
  }

  /** The variance of independent arrivals is their mean; that of callers in a loop is 0. */
  get isSteady(): boolean {
    return this.#variance <= DISPERSION * (this.#mean - 1) + 0.01;
  }

  /** Whether the census has been steady for so long that it is hardly by chance. */
  get isSettled(): boolean {
    return this.#steadyFor >= SETTLED;
  }

  /** With so many waiting every caller is there. */
  get all(): number {
    return this.isSteady ? Math.round(this.#mean) : Infinity;
  }

  arrived(count: number, at: number): void {
    if (at <= this.#backUntil) this.#back += count;
  }

  /** A batch of `size` has ended; callers that submit again until then have come back. */
  answered(size: number, until: number): void {
    this.#backs = this.#backs * MEMORY + Math.min(this.#back, this.#answered);
    this.#answers = this.#answers * MEMORY + this.#answered;
    this.#answered = size;
    this.#back = 0;
    this.#backUntil = until;
  }

  /** Inputs of later batches that are shifted together with a batch of `size`. */
  returning(size: number): number {
    const share = this.#answers > 0 ? this.#backs / this.#answers : 0;
    return share * size * (this.isSteady ? SHIFTED : 1);
  }
}
