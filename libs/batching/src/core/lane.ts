import { checkConcurrency } from './options.js';

/**
 * Slots that several queues share, because they use one device: at most `concurrency` of their batches run at a time.
 * Queues with a batch to send take turns, so that none starves.
 */
export class Lane {
  #running = 0;
  /** Whom to call when a slot is free, in the order of their turns. */
  readonly #waiting = new Set<() => void>();

  /** @param concurrency batches that may run at the same time, of all queues together: an integer ≥ 1 */
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
    // Of slots that became free together, only the first in turn was told.
    this.#callNext();
    return true;
  }

  /** Gives a slot back. */
  leave(): void {
    this.#running--;
    this.#callNext();
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
