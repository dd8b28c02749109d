import type { QueueHistory } from './history.js';

/** Milliseconds that are shown while batches run one after another, and while little happens. */
export const SPANS = { busy: 2000, idle: 20_000 };
/** Batches in the last two seconds from which on it is busy, and below which it no longer is. */
const BUSY = { from: 6, below: 2 };
/** Milliseconds in which a change of the zoom is half done. */
const HALF = 120;

/** How much of the past is shown: all of it while little happens, so that something is seen, and less when it is busy. */
export class Zoom {
  span = SPANS.idle;
  #isBusy = false;
  #drawnAt = 0;

  /** A span that was chosen; `undefined`: by what happens. */
  chosen: number | undefined;

  /**
   * @param end the server's time at the right edge
   * @param now the page's time
   * @param isSmooth whether the change may be seen as a movement
   * @returns the milliseconds to show
   */
  next(histories: Iterable<QueueHistory>, end: number, now: number, isSmooth: boolean): number {
    let most = 0;
    for (const history of histories) most = Math.max(most, batchesSince(history, end - SPANS.busy, end));
    this.#isBusy = most >= (this.#isBusy ? BUSY.below : BUSY.from);
    const aim = this.chosen ?? (this.#isBusy ? SPANS.busy : SPANS.idle);
    const share = isSmooth ? 1 - 0.5 ** (Math.max(0, now - this.#drawnAt) / HALF) : 1;
    this.#drawnAt = now;
    this.span = Math.abs(aim - this.span) < 20 ? aim : this.span + (aim - this.span) * share;
    return this.span;
  }
}

function batchesSince({ ended, started }: QueueHistory, from: number, end: number): number {
  let count = 0;
  for (let index = ended.length - 1; index >= 0; index--) {
    const block = ended[index];
    if (!block || block.end < from) break;
    if (block.start <= end) count += block.count;
  }
  return count + started.filter(({ start }) => start >= from && start <= end).length;
}
