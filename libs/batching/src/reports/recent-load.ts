/** What a queue has had to do since it was built. */
export interface Work {
  /** Inputs that arrived, refused ones included. */
  readonly arrived: number;
  /** Milliseconds that its batches have run, summed over them, with those that run now. */
  readonly ran: number;
}

/** Samples that are kept of a window, at most. */
const SAMPLES = 30;

/**
 * The load of the last `window` milliseconds, from counts that are read now and then, such as by a scrape: so
 * it needs no timer, and several readers do not disturb each other. If it is read less often, the load is that
 * since the last reading.
 */
export class RecentLoad {
  readonly #samples: (Work & { readonly at: number })[];

  constructor(
    private readonly window: number,
    now: number,
  ) {
    this.#samples = [{ at: now, arrived: 0, ran: 0 }];
  }

  /** @returns inputs per millisecond, and milliseconds of run per millisecond; `undefined` if no time has passed */
  read(work: Work, now: number): { rate: number; running: number } | undefined {
    const samples = this.#samples;
    while ((samples[1]?.at ?? Infinity) <= now - this.window) samples.shift();
    const [since] = samples;
    const last = samples.at(-1);
    if (!last || now - last.at >= this.window / SAMPLES) samples.push({ at: now, ...work });
    if (!since || now <= since.at) return undefined;
    const elapsed = now - since.at;
    return { rate: (work.arrived - since.arrived) / elapsed, running: (work.ran - since.ran) / elapsed };
  }
}
