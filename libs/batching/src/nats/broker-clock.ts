/** Milliseconds after which an old estimate counts no more: the clock of the broker may be set. */
const WINDOW = 10_000;

/**
 * How far the clock of the broker is from ours. From 2.10 the broker says its time when it is asked for something. Before, inputs
 * alone have times, and one that has just been delivered is the best that is known: its age is underestimated by what the youngest
 * of the last seconds waited.
 */
export class BrokerClock {
  /** Time of the broker minus `performance.now()`. */
  #offset: number | undefined;
  #best = -Infinity;
  #previous = -Infinity;
  #windowEnd = 0;

  /** The broker has said its time, between two moments of ours. */
  read(time: number, askedAt: number, answeredAt: number): void {
    this.#offset = time - (askedAt + answeredAt) / 2;
  }

  /** The connection was lost: another broker may answer. */
  reset(): void {
    this.#offset = undefined;
    this.#best = this.#previous = -Infinity;
  }

  /** @param time when an input was stored, by the broker's clock @returns milliseconds since then */
  ageOf(time: number): number {
    const now = performance.now();
    if (this.#offset !== undefined) return Math.max(0, now + this.#offset - time);
    if (now >= this.#windowEnd) {
      this.#windowEnd = now + WINDOW;
      this.#previous = this.#best;
      this.#best = -Infinity;
    }
    this.#best = Math.max(this.#best, time - now);
    return now + Math.max(this.#best, this.#previous) - time;
  }
}
