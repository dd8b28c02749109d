import { checkCount } from './checks.js';
import { invariant } from './invariant.js';
import { Progress } from './progress.js';

/** Where a lane keeps its slots: by a key that two copies of this library in one process share. */
const SLOTS = Symbol.for('nest-batching:slots');

/**
 * Slots that several queues share, because they use one device: at most `concurrency` of their batches run at a time.
 * Queues with a batch to send take turns, so that none starves.
 */
export class Lane {
  /** @param concurrency batches that may run at the same time, of all queues together: an integer ≥ 1, or `Infinity` */
  constructor(readonly concurrency = 1) {
    checkCount('concurrency', concurrency, 1);
    Object.defineProperty(this, SLOTS, { value: new Slots(concurrency) });
  }
}

/** The slots of a lane, for its queues; `undefined` for what is no lane. */
export function slotsOf(lane: unknown): Slots | undefined {
  if (typeof lane !== 'object' || lane === null) return undefined;
  return (lane as { [SLOTS]?: Slots })[SLOTS];
}

/**
 * A semaphore with turns. A queue that finds no slot stands in line, and is called when it is first and a slot is free.
 * A slot that is free goes to the first in line only, even when a queue further back, or a new one, could use it at once:
 * else a queue that always has a batch ready could keep the others from ever getting one.
 */
export class Slots {
  /** Of the batches of all queues. */
  readonly progress = new Progress();
  #running = 0;
  /** What to call when a slot is free, in the order of turns. */
  readonly #line = new Set<() => void>();

  constructor(private readonly count: number) {}

  /** Takes a slot; if none is free or it is another queue's turn, `retry` is called when it may be tried again. */
  tryEnter(retry: () => void, now: number): boolean {
    const [first = retry] = this.#line;
    if (this.#running >= this.count || first !== retry) {
      this.#line.add(retry);
      return false;
    }
    this.#line.delete(retry);
    this.#running++;
    this.progress.started(now);
    // Of slots that became free together, only the first in line has heard.
    this.#callFirst();
    return true;
  }

  /** Gives a slot back, that a batch has had for `ran` milliseconds. */
  leave(ran: number, now: number): void {
    invariant(this.#running > 0, 'a slot was given back that no batch had');
    this.#running--;
    this.progress.ended(now, ran);
    this.#callFirst();
  }

  /** Whether `retry` stands in line. */
  hasWaiting(retry: () => void): boolean {
    return this.#line.has(retry);
  }

  /** Leaves the line: there is no batch to send any more. */
  withdraw(retry: () => void): void {
    if (this.#line.delete(retry)) this.#callFirst();
  }

  #callFirst(): void {
    const [first] = this.#line;
    if (this.#running < this.count) first?.();
  }
}
