/** Summary of recorded values; all 0 if there are none. Quantiles are exact within 3 %. */
export interface Summary {
  /** Number of values. */
  count: number;
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

/** All values ever recorded, counted by upper bounds as Prometheus does. */
export interface Totals {
  /** For each bound, the number of values up to it. */
  counts: number[];
  /** Number of values. */
  count: number;
  sum: number;
}

/** Steps within each power of two: bounds the error of a quantile to 1/32. */
const STEPS = 32;
const STEP_BITS = 5;
/** Buckets for values up to 2^31 − 1: 35 minutes in microseconds. */
const BUCKETS = (31 - STEP_BITS + 1) * STEPS;
/** A window's length in milliseconds. */
const WINDOW = 60_000;

/**
 * The distribution of the values recorded in the last one to two minutes, in constant memory: counts in
 * buckets whose width grows with the value (as in HdrHistogram), for the current window and the one before.
 */
export class RecentDistribution {
  #current = new Histogram();
  #previous = new Histogram();
  /** Of the windows before these two. */
  readonly #earlier = new Histogram();
  #windowEnd = -Infinity;

  /**
   * @param scale steps per unit of a value, as values are rounded to whole steps; 1000 keeps milliseconds to
   *   the microsecond
   */
  constructor(private readonly scale: number) {}

  /** Records `count` equal values; `now` in milliseconds. */
  record(value: number, count: number, now: number): void {
    if (now >= this.#windowEnd) this.#turnOver(now);
    this.#current.record(value * this.scale, count);
  }

  summarize(now: number): Summary {
    if (now >= this.#windowEnd) this.#turnOver(now);
    const count = this.#current.count + this.#previous.count;
    return {
      count,
      mean: count === 0 ? 0 : (this.#current.sum + this.#previous.sum) / count / this.scale,
      p50: this.#quantile(0.5 * count),
      p90: this.#quantile(0.9 * count),
      p99: this.#quantile(0.99 * count),
      max: this.#max / this.scale,
    };
  }

  /**
   * Counts all values ever recorded. A bound that is no boundary of a bucket counts up to 3 % too far.
   *
   * @param bounds upper bounds, ascending
   */
  totals(bounds: readonly number[]): Totals {
    const windows = [this.#earlier, this.#previous, this.#current];
    const counts = bounds.map(() => 0);
    let bucket = 0;
    let seen = 0;
    bounds.forEach((bound, place) => {
      for (; bucket < BUCKETS && lowerBound(bucket) <= bound * this.scale; bucket++) {
        for (const window of windows) seen += window.counts[bucket] ?? 0;
      }
      counts[place] = seen;
    });
    const sum = windows.reduce((total, window) => total + window.sum, 0) / this.scale;
    return { counts, count: windows.reduce((total, window) => total + window.count, 0), sum };
  }

  #turnOver(now: number): void {
    [this.#previous, this.#current] = [this.#current, this.#previous];
    this.#earlier.add(this.#current);
    this.#current.clear();
    // After a pause of more than a window, `previous` is too old as well.
    if (now >= this.#windowEnd + WINDOW) {
      this.#earlier.add(this.#previous);
      this.#previous.clear();
    }
    this.#windowEnd = now + WINDOW;
  }

  get #max(): number {
    return Math.max(this.#current.max, this.#previous.max);
  }

  #quantile(rank: number): number {
    return quantileOf([this.#current, this.#previous], rank) / this.scale;
  }
}

/** @returns the value of this rank among the values of all histograms, exact within 3 %; 0 if there are none */
export function quantileOf(histograms: readonly Histogram[], rank: number): number {
  let seen = 0;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    for (const { counts } of histograms) seen += counts[bucket] ?? 0;
    if (seen === 0 || seen < rank) continue;
    return Math.min(upperBound(bucket), Math.max(...histograms.map(({ max }) => max)));
  }
  return 0;
}

/** Counts of whole numbers in buckets whose width grows with the value. */
export class Histogram {
  // Its type as compilers before 5.7 write it: theirs takes no parameter.
  readonly counts: Float64Array = new Float64Array(BUCKETS);
  count = 0;
  sum = 0;
  max = 0;

  record(value: number, count: number): void {
    // A time may be negative if the clock was replaced meanwhile, as tests do.
    const whole = Math.min(Math.max(0, Math.round(value)), 2 ** 31 - 1);
    const bucket = bucketOf(whole);
    this.counts[bucket] = (this.counts[bucket] ?? 0) + count;
    this.count += count;
    this.sum += Math.max(0, value) * count;
    if (value > this.max) this.max = value;
  }

  add({ counts, count, sum, max }: Histogram): void {
    if (count === 0) return;
    counts.forEach((inBucket, bucket) => {
      this.counts[bucket] = (this.counts[bucket] ?? 0) + inBucket;
    });
    this.count += count;
    this.sum += sum;
    this.max = Math.max(this.max, max);
  }

  clear(): void {
    this.counts.fill(0);
    this.count = this.sum = this.max = 0;
  }
}

/** Below 2 · STEPS a bucket is one value; above, the bits after the leading STEP_BITS + 1 are dropped. */
function bucketOf(value: number): number {
  const shift = Math.max(0, 31 - Math.clz32(value) - STEP_BITS);
  return shift * STEPS + (value >>> shift);
}

function lowerBound(bucket: number): number {
  const shift = Math.max(0, Math.floor(bucket / STEPS) - 1);
  return (bucket - shift * STEPS) * 2 ** shift;
}

function upperBound(bucket: number): number {
  const shift = Math.max(0, Math.floor(bucket / STEPS) - 1);
  return (bucket - shift * STEPS + 1) * 2 ** shift - 1;
}
