import { Histogram, quantileOf } from '../core/distribution.js';
import type { DropReason } from '../core/stats.js';
import type { Distribution, Figures } from './frame.js';

/** Milliseconds of a slice, and slices of the window beside the one that is being filled. */
const SLICE = 1000;
const SLICES = 9;
/** Steps of a histogram in a millisecond. */
const SCALE = 1000;

/** A batch that has ended. */
export interface Run {
  readonly leftAt: number;
  readonly size: number;
  readonly results: number;
  readonly aborted: number;
  /** Index in `REASONS`. */
  readonly reason: number;
  /** Milliseconds that each of its inputs has waited. */
  readonly waits: readonly number[];
  readonly ran: number;
}

/** What has been counted since the queue was built, or since it is watched. */
export interface Totals {
  readonly drops: Readonly<Record<DropReason, number>>;
  /** Milliseconds in which a batch ran, of all slots together. */
  readonly busy: number;
}

/** Figures of the last ten seconds, or of the time since settings were changed, if that is shorter. */
export class Window {
  #latest: Slice;
  #earlier: Slice[] = [];
  #isSinceChange = false;

  constructor(now: number, totals: Totals) {
    this.#latest = new Slice(now, totals);
  }

  /** Begins anew, since the settings have changed. */
  restart(now: number, totals: Totals): void {
    this.#latest = new Slice(now, totals);
    this.#earlier = [];
    this.#isSinceChange = true;
  }

  /** Moves the window on. To be called now and then, and before the figures are read. */
  advance(now: number, totals: Totals): void {
    if (now < this.#latest.start + SLICE) return;
    this.#earlier.push(this.#latest);
    this.#latest = new Slice(now, totals);
    const from = now - SLICES * SLICE;
    while ((this.#earlier[1] ?? this.#latest).start <= from && this.#earlier.length > 0) {
      this.#earlier.shift();
      this.#isSinceChange = false;
    }
  }

  /** A batch that left before the settings were changed says nothing of the new ones. */
  record(run: Run): void {
    if (this.#isSinceChange && run.leftAt < this.#first.start) return;
    this.#latest.record(run);
  }

  /** @param slots `Infinity` if there is no limit */
  figures(now: number, totals: Totals, slots: number): Figures {
    const first = this.#first;
    const span = Math.max(0, now - first.start);
    const slices = this.#slices;
    const sum = (of: (slice: Slice) => number) => slices.reduce((total, slice) => total + of(slice), 0);
    const inputs = sum((slice) => slice.inputs);
    const results = sum((slice) => slice.results);
    const aborted = sum((slice) => slice.aborted);
    const drops = Object.entries(totals.drops).map(([reason, count]) => [
      reason,
      count - first.totals.drops[reason as DropReason],
    ]);
    const isLimited = slots < Infinity && span > 0;
    return {
      span,
      isSinceChange: this.#isSinceChange,
      batches: sum((slice) => slice.batches),
      inputs,
      results,
      errors: inputs - results - aborted,
      aborted,
      reasons: first.reasons.map((_, reason) => sum((slice) => slice.reasons[reason] ?? 0)),
      drops: Object.fromEntries(drops) as Figures['drops'],
      wait: this.#distribution((slice) => slice.wait, inputs),
      run: this.#distribution((slice) => slice.run, inputs),
      total: this.#distribution((slice) => slice.total, inputs),
      busy: isLimited ? Math.min(1, (totals.busy - first.totals.busy) / span / slots) : null,
    };
  }

  get #first(): Slice {
    return this.#earlier[0] ?? this.#latest;
  }

  get #slices(): Slice[] {
    return [...this.#earlier, this.#latest];
  }

  #distribution(of: (slice: Slice) => Histogram, count: number): Distribution {
    const histograms = this.#slices.map(of);
    const sum = histograms.reduce((total, histogram) => total + histogram.sum, 0);
    return {
      mean: count === 0 ? 0 : sum / count / SCALE,
      p50: quantileOf(histograms, 0.5 * count) / SCALE,
      p99: quantileOf(histograms, 0.99 * count) / SCALE,
    };
  }
}

class Slice {
  batches = 0;
  inputs = 0;
  results = 0;
  aborted = 0;
  readonly reasons = [0, 0, 0, 0];
  readonly wait = new Histogram();
  readonly run = new Histogram();
  readonly total = new Histogram();

  constructor(
    readonly start: number,
    /** At its start. */
    readonly totals: Totals,
  ) {}

  record({ size, results, aborted, reason, waits, ran }: Run): void {
    this.batches++;
    this.inputs += size;
    this.results += results;
    this.aborted += aborted;
    this.reasons[reason] = (this.reasons[reason] ?? 0) + 1;
    this.run.record(ran * SCALE, size);
    for (const wait of waits) {
      this.wait.record(wait * SCALE, 1);
      this.total.record((wait + ran) * SCALE, 1);
    }
  }
}
