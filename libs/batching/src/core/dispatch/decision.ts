import type { Census } from './census.js';
import type { QueueSnapshot } from './dispatch-policy.js';
import type { Hindsight } from './hindsight.js';

/** Arrivals that are remembered. */
const REMEMBERED = 256;

/** What was known when a batch could first leave, how long it was to wait, and what came since. */
export class Decision {
  readonly waiting: number;
  /** Milliseconds that a batch takes for each input, and beside its inputs, as far as is known. */
  readonly alpha: number;
  readonly beta: number;
  /** With so many waiting every caller is there; `Infinity` if not known. */
  readonly all: number;
  /** Milliseconds to wait from `since`. */
  readonly wait: number;
  leftAt: number | undefined;
  /** When the others came, in milliseconds from `since`, in their order. */
  readonly came: number[] = [];
  /** Inputs that came after the batch had left, at moments that it hid. */
  hidden = 0;

  constructor(
    readonly queue: QueueSnapshot,
    readonly since: number,
    readonly hindsight: Hindsight,
    census: Census,
  ) {
    const { waiting, serviceTime } = queue;
    this.waiting = waiting;
    this.alpha = serviceTime(waiting + 1) - serviceTime(waiting);
    this.beta = Math.max(0, serviceTime(waiting) - this.alpha * waiting);
    this.all = census.all;
    this.wait = this.isComplete ? 0 : hindsight.bestWait(this.beta, census.crowds);
    if (this.wait > 0 || this.isComplete || !census.isSettled || !hindsight.isProbeDue()) return;
    const missing = this.all - waiting;
    const returning = census.returning(waiting);
    // Nearly the longest wait that pays if all that are missing come at its end.
    this.wait = (0.9 * this.beta * (missing + returning)) / (waiting + queue.others + missing + returning);
  }

  arrived(count: number, now: number, isHidden: boolean): void {
    if (isHidden && this.leftAt !== undefined) {
      this.hidden += count;
      return;
    }
    for (let one = 0; one < count && this.came.length < REMEMBERED; one++) this.came.push(now - this.since);
  }

  /** Whether every caller is there. */
  get isComplete(): boolean {
    return this.waiting + this.came.length >= this.all;
  }

  /** Inputs that would have joined the batch after a wait of `time` milliseconds. */
  cameWithin(time: number): number {
    let count = 0;
    while (count < this.came.length && (this.came[count] ?? Infinity) <= time) count++;
    return count;
  }

  /** Inputs that came in the time of a run: they missed a batch that left at once. */
  missed(): number {
    return this.cameWithin(this.queue.serviceTime(this.waiting)) + this.hidden;
  }
}
