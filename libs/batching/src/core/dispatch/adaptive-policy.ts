import { Census } from './census.js';
import { Decision } from './decision.js';
import type { DispatchPolicy, Plan, QueueSnapshot } from './dispatch-policy.js';
import { Hindsight } from './hindsight.js';

/**
 * Waits only while waiting pays, by hindsight and a census.
 *
 * A batch could leave at a moment when a slot is free and something waits. Once it has ended, the inputs that came since that
 * moment are known, and so is what each of a handful of waits would have gained: one run saved for all inputs that would have
 * joined, against the delay of all. The wait with the greatest gain so far, if any is above 0, is the next one at such a
 * moment. (`Hindsight`; one for each of three kinds of moments.)
 *
 * The inputs that were there, waiting or in the time of a run, are counted: callers in a loop are always as many, and
 * when all of them wait, the batch leaves. (`Census`.) A batch function that blocks the event loop hides when inputs came,
 * though not how many: with a steady census it is then worth to wait once in a while, to see.
 *
 * The derivation, figures and sources are in docs/adr/0007-hindsight.md.
 */
export class AdaptivePolicy implements DispatchPolicy {
  readonly looksBeforeAnswers = true;
  readonly #afterArrival = new Hindsight();
  readonly #afterEnd = new Hindsight();
  /** After the end of a batch just before which an input came: a burst may be under way. */
  readonly #afterEndAmid = new Hindsight();
  readonly #census = new Census();
  /** The latest decision, until its batch has ended and it has been learned from. */
  #decision: Decision | undefined;
  #endedAt = -Infinity;
  #cameAt = -Infinity;
  #serviceTime: QueueSnapshot['serviceTime'] | undefined;

  arrived(count: number, _waiting: number, _slotFree: boolean, now: number, since: number): void {
    this.#cameAt = since;
    this.#census.arrived(count, since);
    this.#decision?.arrived(count, now, since < now);
  }

  left(_size: number, now: number): void {
    if (this.#decision) this.#decision.leftAt ??= now;
  }

  ended(now: number, size: number): void {
    const decision = this.#decision;
    this.#endedAt = now;
    this.#census.answered(size, now + (this.#serviceTime?.(size) ?? 0));
    if (decision?.leftAt === undefined) return;
    const missed = decision.missed();
    decision.hindsight.learn(decision, missed, this.#census);
    // Those that waited, and those that came in the time of a run.
    this.#census.record(decision.waiting + missed);
    this.#decision = undefined;
  }

  opened(queue: QueueSnapshot, now: number): void {
    this.#serviceTime = queue.serviceTime;
    // Inputs that the decision was about may have been dropped.
    const decision = this.#decision;
    if (decision && (decision.leftAt !== undefined || queue.waiting >= decision.waiting)) return;
    const isAmid = (this.#endedAt - this.#cameAt) * queue.waiting < queue.serviceTime(1);
    const afterEnd = isAmid ? this.#afterEndAmid : this.#afterEnd;
    const hindsight = this.#cameAt <= this.#endedAt ? afterEnd : this.#afterArrival;
    this.#decision = new Decision(queue, now, hindsight, this.#census);
  }

  plan({ oldest, maxDelay }: QueueSnapshot, now: number): Plan {
    const decision = this.#decision;
    // With several slots, inputs that come while a decision is being learned from do not wait.
    const isOpen = decision !== undefined && decision.leftAt === undefined;
    const leaveAt = isOpen ? decision.since + decision.wait : now;
    const latest = oldest + maxDelay;
    return {
      at: isOpen && decision.wait > 0 && !decision.isComplete ? Math.min(leaveAt, latest) : now,
      reason: latest <= leaveAt ? 'delay' : 'idle',
    };
  }
}
