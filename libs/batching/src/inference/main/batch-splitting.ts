/** Times measured before a way is judged; the first, in which shapes are prepared, does not count. */
const FIRST_TIMES = 3;
/** One batch in so many tries another way, in case its times were bad by chance or have changed. */
const TRIES = 32;
/** Weight of a new time. A mean falls faster than it rises, as most disturbances make a time longer. */
const [FALLING, RISING] = [0.5, 0.1];

interface Way {
  times: number;
  /** Mean time per input, in milliseconds. */
  mean: number;
}

/**
 * Learns, for one model, into how many parts batches are split over idle workers: the number of parts with
 * the lowest mean time so far, for batches of about this size. The times are those of whole batches, so that
 * they include everything that splitting costs: more messages, and cores that share a memory.
 */
export class BatchSplitting {
  /** By size of the batch, rounded up to a power of two, and number of parts. */
  readonly #ways = new Map<number, Map<number, Way>>();
  #batches = 0;

  /** @param choices numbers of parts, the smallest first. @returns one of them */
  choose(size: number, choices: readonly number[]): number {
    const [whole = 1] = choices;
    if (choices.length < 2) return whole;
    const ways = this.#waysOf(size);
    const untried = choices.find((parts) => (ways.get(parts)?.times ?? 0) < FIRST_TIMES);
    if (untried !== undefined) return untried;
    this.#batches += 1;
    if (this.#batches % TRIES === 0) return choices[(this.#batches / TRIES) % choices.length] ?? whole;
    const mean = (parts: number) => ways.get(parts)?.mean ?? Infinity;
    return choices.reduce((best, parts) => (mean(parts) < mean(best) ? parts : best), whole);
  }

  /** A batch of this size took `time` milliseconds in so many parts. */
  record(size: number, parts: number, time: number): void {
    const ways = this.#waysOf(size);
    const perInput = time / size;
    const way = ways.get(parts);
    if (!way) {
      ways.set(parts, { times: 1, mean: perInput });
      return;
    }
    way.times += 1;
    if (way.times === 2) way.mean = perInput;
    else way.mean += (perInput < way.mean ? FALLING : RISING) * (perInput - way.mean);
  }

  #waysOf(size: number): Map<number, Way> {
    const bucket = 2 ** Math.ceil(Math.log2(size));
    const ways = this.#ways.get(bucket) ?? new Map<number, Way>();
    this.#ways.set(bucket, ways);
    return ways;
  }
}
