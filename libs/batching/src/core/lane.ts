import { checkCount } from './checks.js';
import { invariant } from './invariant.js';
import { Progress } from './progress.js';

/** Key under which a lane keeps its slots; two copies of this library in one process share it. */
const SLOTS = Symbol.for('nest-batching:slots');

/**
 * Slots that several queues share, because they use one device: at most `concurrency` of their batches run at
 * the same time. Queues that have a batch ready take turns, so that none starves.
 */
export class Lane {
  /**
   * @param concurrency batches that may run at the same time, of all queues together: an integer ≥ 1, or
   *   `Infinity`. Default 1
   * @throws TypeError or RangeError for any other value
   */
  constructor(readonly concurrency = 1) {
    checkCount('concurrency', concurrency, 1);
    Object.defineProperty(this, SLOTS, { value: new Slots(concurrency) });
  }
}

/** The slots of a lane; `undefined` if the value is not a lane. */
export function slotsOf(lane: unknown): Slots | undefined {
  if (typeof lane !== 'object' || lane === null) return undefined;
  return (lane as { [SLOTS]?: Slots })[SLOTS];
}

/**
 * A semaphore with a first-in-first-out line of queues. A queue that gets no slot joins the line, and is
 * called back when it is first and a slot is free. A free slot goes to the first in line only, even if a
 * queue further back, or a new one, could use it at once: else a queue that always has a batch ready could
 * keep the others from ever getting a slot.
 */
export class Slots {
  /** Starts and ends of the batches that hold the slots, of all queues. */
  readonly progress = new Progress();
  #running = 0;
  /** The queues' callbacks, in the order of their turns. */
  readonly #line = new Set<() => void>();

  constructor(private readonly count: number) {}

  /**
   * Takes a slot. If none is free or it is another queue's turn, returns false, and calls `retry` at this
   * queue's turn.
   */
  tryAcquire(retry: () => void, now: number): boolean {
    const [first = retry] = this.#line;
    if (this.#running >= this.count || first !== retry) {
      this.#line.add(retry);
      return false;
    }
    this.#line.delete(retry);
    this.#running++;
    this.progress.started(now);
    // Several slots may have become free together, and only the first in line was called.
    this.#callFirst();
    return true;
  }

  /** Gives back a slot that a batch held for `ran` milliseconds. */
  release(ran: number, now: number): void {
    invariant(this.#running > 0, 'a slot was given back that no batch had');
    this.#running--;
    this.progress.ended(now, ran);
    this.#callFirst();
  }

  /** Whether `retry` stands in line. */
  hasWaiting(retry: () => void): boolean {
    return this.#line.has(retry);
  }

  /** Removes `retry` from the line: its queue has no batch ready any more. */
  withdraw(retry: () => void): void {
    if (this.#line.delete(retry)) this.#callFirst();
  }

  #callFirst(): void {
    const [first] = this.#line;
    if (this.#running < this.count) first?.();
  }
}
