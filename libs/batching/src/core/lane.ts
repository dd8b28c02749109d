import { checkConcurrency } from './options.js';
import { Progress } from './progress.js';

/**
 * Slots that several queues share, because they use one device: at most `concurrency` of their batches run at a time.
 * Queues with a batch to send take turns, so that none starves.
 */
export class Lane {
  #running = 0;
  /** Whom to call when a slot is free, in the order of their turns. */
  readonly #waiting = new Set<() => void>();
  /** @internal Of the batches of all its queues. */
  readonly progress = new Progress();

  /** @param concurrency batches that may run at the same time, of all queues together: an integer ≥ 1, or `Infinity` */
  constructor(readonly concurrency = 1) {
    checkConcurrency(concurrency);
  }

  /** Takes a slot; if none is free or it is another's turn, `retry` is called when it may be tried again. */
  tryEnter(retry: () => void): boolean {
    const [first = retry] = this.#waiting;
    if (this.#running >= this.concurrency || first !== retry) {
      this.#waiting.add(retry);
      return false;
    }
    this.#waiting.delete(retry);
    this.#running++;
    this.progress.started(performance.now());
    // Of slots that became free together, only the first in turn was told.
    this.#callNext();
    return true;
  }

  /** Gives a slot back, that a batch has had for `ran` milliseconds. */
  leave(ran: number): void {
    this.#running--;
    this.progress.ended(performance.now(), ran);
    this.#callNext();
  }

  /** @internal Whether `retry` waits for its turn. */
  hasWaiting(retry: () => void): boolean {
    return this.#waiting.has(retry);
  }

  /** Gives up its turn: there is nothing to send any more. */
  withdraw(retry: () => void): void {
    if (this.#waiting.delete(retry)) this.#callNext();
  }

  #callNext(): void {
    const [first] = this.#waiting;
    if (this.#running < this.concurrency) first?.();
  }
}
