import type { DispatchPolicy, Plan, QueueSnapshot } from './dispatch-policy.js';

/**
 * Waits only while waiting pays.
 *
 * A situation is a number n of waiting inputs with a free slot, and the event that led to it: an arrival, or
 * the end of a batch, amid arrivals or not. For each situation the policy learns the distribution of the gap
 * until the next input, and what follows if the batch leaves without it: m inputs that come while the batch
 * runs and share the next one, and r that come while the next one runs. A batch of n takes s(n) = α n + β
 * milliseconds. To wait for a next input that comes after a gap of g
 * - saves β, since the input shares a run, and α (m + r − n), since it lengthens this batch instead of the
 *   next;
 * - saves the r inputs a share of β: if all m join, no second batch delays them;
 * - delays all n + m + r inputs, and the next input itself, by g. The same is computed for the k-th next
 *   input, by the mean gaps. If more inputs follow the next one closely, as when the callers of one batch
 *   submit again, their savings are added to its own. With several slots, an input saves less by the time for
 *   which another slot is free before this batch ends, and the r inputs do not wait for the next batch. With
 *   groups, an input saves only if it may share the batch, and the wait delays the other groups too.
 *
 * The policy chooses the wait with the greatest expected gain, if that is above 0. It does not wait under
 * steady arrivals, where no wait gains anything, nor for a lone caller, whose next input never comes before
 * its own result. Waiting pays within a burst, and after a batch, for the callers that it has just answered.
 * docs/adr/0003-adaptive-dispatch.md has the derivation and its sources.
 */
export class AdaptivePolicy implements DispatchPolicy {
  readonly #afterArrival = new Situations();
  /** After the end of a batch when no input had come for a while. */
  readonly #afterEnd = new Situations();
  /** After the end of a batch when an input had come just before: a burst may be under way. */
  readonly #afterEndAmid = new Situations();
  /** The present situation, since the moment `#since`, until the next input comes. */
  #situation: Situation | undefined;
  #since = 0;
  /** When the last batch ended; `undefined` after the next decision. */
  #endedAt: number | undefined;
  /** The situations since the last batch left, of that batch, and of the batch before it. */
  #passed: Situation[] = [];
  #left: Situation[] = [];
  #leftBefore: Situation[] = [];
  /** When the last input came. */
  #lastCame = -Infinity;
  /** Inputs that have come since the last batch left. */
  #came = 0;
  /** Size of the last batch that left. */
  #leftSize = 0;
  /** Mean share of the waiting inputs that may share a batch; 1 without groups. */
  #sharing: number | undefined;

  arrived(count: number, waiting: number, slotFree: boolean, now: number): void {
    this.#came += count;
    this.#lastCame = now;
    // The gap is negative if the clock was replaced meanwhile, as tests do.
    this.#situation?.observeGap(Math.max(0, now - this.#since));
    // While a batch runs: as many as would wait now if it had not left. So the policy learns what a wait
    // would have met.
    const together = slotFree ? waiting : this.#leftSize + this.#came;
    for (let size = together - Math.min(count, FINE) + 1; size < together; size++) {
      this.#afterArrival.at(size).observeNext(0);
    }
    if (slotFree) this.#pass(this.#afterArrival.at(waiting), now);
    else this.#begin(this.#afterArrival.at(together), now);
  }

  // The batch's size is not used: a situation has its own number of inputs.
  left(): void {
    this.#leftSize = this.#passed.at(-1)?.waiting ?? 0;
    this.#left = this.#passed;
    this.#passed = [];
    this.#came = 0;
  }

  ended(now: number): void {
    const size = this.#left.at(-1)?.waiting ?? 0;
    for (const situation of this.#left) situation.observeMissed(this.#came + size - situation.waiting);
    const sizeBefore = this.#leftBefore.at(-1)?.waiting ?? 0;
    for (const situation of this.#leftBefore) situation.observeReturned(this.#came / sizeBefore);
    // If no input came while the batch ran, no next batch follows that later inputs would wait for.
    this.#leftBefore = this.#came > 0 ? this.#left : [];
    this.#left = [];
    this.#endedAt = now;
  }

  opened(queue: QueueSnapshot): void {
    const { waiting, others, serviceTime } = queue;
    if (waiting + others > 1) this.#sharing = remember(this.#sharing, waiting / (waiting + others));
    if (this.#endedAt !== undefined && !(this.#situation && this.#since > this.#endedAt)) {
      // Amid arrivals: if another input came as soon after the end, the wait for it would cost less than a
      // run.
      const isAmid = (this.#endedAt - this.#lastCame) * waiting < serviceTime(1);
      this.#pass((isAmid ? this.#afterEndAmid : this.#afterEnd).at(waiting), this.#endedAt);
    }
    this.#endedAt = undefined;
    if (this.#situation) this.#situation.patience = this.#patience(queue, this.#situation);
  }

  plan(queue: QueueSnapshot, now: number): Plan {
    const patience = this.#situation?.patience ?? 0;
    const leaveAt = this.#since + patience;
    const latest = queue.oldest + queue.maxDelay;
    return {
      at: patience === 0 ? now : Math.min(leaveAt, latest),
      reason: latest <= leaveAt ? 'delay' : 'idle',
    };
  }

  /** How long to wait, in milliseconds from the beginning of the situation; 0 if no wait gains anything. */
  #patience(queue: QueueSnapshot, situation: Situation): number {
    const { waiting, others } = queue;
    const known =
      situation.missed === undefined
        ? (this.#afterArrival.nearest(waiting) ?? this.#afterEnd.nearest(waiting))
        : situation;
    const more = waiting - (known?.waiting ?? 0);
    const missed = Math.max(0, (known?.missed ?? 0) - more);
    // With another slot, no input has to wait for the end of the next batch.
    const returned = queue.untilOtherSlot < Infinity ? 0 : (known?.returned ?? 0) * waiting;
    const saved = savings(queue, missed, returned, this.#sharing ?? 1);
    const delayed = waiting + others + missed + returned;
    const later = this.#gainOfLater(waiting, (known?.followed ?? 0) - more, saved, delayed);
    return situation.bestPatience(queue, saved(0), later, delayed);
  }

  /**
   * Expected gain, in milliseconds, of also waiting for the inputs after the next, by their mean gaps; 0 if
   * none.
   */
  #gainOfLater(waiting: number, following: number, saved: (came: number) => number, delayed: number): number {
    let best = 0;
    let gain = 0;
    for (let came = 1; came < Math.min(following, FINE); came++) {
      const gap = this.#afterArrival.at(waiting + came).meanGap;
      if (gap === undefined) break;
      gain += saved(came) - (1 + delayed) * gap;
      best = Math.max(best, gain);
    }
    return best;
  }

  /** Begins a situation, and remembers that the waiting inputs have been in it. */
  #pass(situation: Situation, now: number): void {
    this.#begin(situation, now);
    // Inputs may have been dropped. In rising order the list has at most one situation per number of inputs.
    while ((this.#passed.at(-1)?.waiting ?? -1) >= situation.waiting) this.#passed.pop();
    this.#passed.push(situation);
  }

  #begin(situation: Situation, now: number): void {
    this.#situation = situation;
    this.#since = now;
  }
}

/**
 * @returns a function of k: the milliseconds that the (k + 1)-th input to join saves. The r inputs count for
 *   the first one only, else the policy would wait too often (docs/adr/0003-adaptive-dispatch.md).
 */
function savings(queue: QueueSnapshot, missed: number, returned: number, sharing: number) {
  const { waiting, serviceTime, untilOtherSlot } = queue;
  const ran = serviceTime(waiting);
  const alpha = serviceTime(waiting + 1) - ran;
  const beta = ran - alpha * waiting;
  const sooner = Math.max(0, ran - untilOtherSlot);
  return (came: number) => {
    const lengthens = waiting + came - Math.max(0, missed - 1 - came) - (came === 0 ? returned : 0);
    return sharing * (beta * (1 + returned / Math.max(1, missed)) - alpha * lengthens - sooner);
  };
}

/** Above this number of waiting inputs, the situations of one power of two are not distinguished. */
const FINE = 64;

/** The situations after one kind of event, by the number of waiting inputs. */
class Situations {
  readonly #byWaiting: (Situation | undefined)[] = [];

  at(waiting: number): Situation {
    const index = waiting <= FINE ? waiting : FINE + Math.ceil(Math.log2(waiting / FINE));
    return (this.#byWaiting[index] ??= new Situation(waiting));
  }

  /** Of the situations that batches have left from, the one with the most inputs up to `waiting`. */
  nearest(waiting: number): Situation | undefined {
    for (let fewer = Math.min(waiting, FINE); fewer > 0; fewer--) {
      if (this.#byWaiting[fewer]?.missed !== undefined) return this.#byWaiting[fewer];
    }
    return undefined;
  }
}

/**
 * Upper bound of the first bucket of gaps, in milliseconds; each next bound is twice as large, the last 1.3
 * s.
 */
const NARROWEST = 0.02;
const BUCKETS = 17;
/** Factor on the weight of past observations at each new one: about the last eleven count. */
const MEMORY = 0.91;
/**
 * The same after a wait in which no input came, so that a change of load costs one or two wasted waits, not
 * eleven.
 */
const MEMORY_OF_WASTE = 0.25;
/**
 * The same if fewer inputs followed than before: to wait too little is better than to wait for inputs of a
 * past load.
 */
const MEMORY_OF_MORE = 0.5;
/** Part of a run's time within which the next input must come, for more inputs to be expected after it. */
const SOON = 0.7;

/** Rounding tolerance when shares are summed to 1. */
const EPSILON = 1e-9;

/** What has followed one situation. */
class Situation {
  /**
   * Mean number of inputs that came from the situation until its batch ended; `undefined` before the first
   * such end.
   */
  missed: number | undefined;
  /** Like `missed`, but falls faster than it rises. */
  followed = 0;
  /** Mean gap until the next input, in milliseconds; `undefined` before the first. */
  meanGap: number | undefined;
  /** Mean number of inputs that came while the batch after that ran, per input of the first batch. */
  returned: number | undefined;
  /** Weights of the gaps by bucket; the last bucket takes all longer gaps. */
  readonly #gaps = new Float64Array(BUCKETS + 1);
  #weight = 0;
  /** The wait chosen last in this situation, in milliseconds. */
  patience = 0;

  constructor(readonly waiting: number) {}

  /** Records a gap in the mean only: while a batch runs, or between inputs of one turn. */
  observeNext(gap: number): void {
    this.meanGap = remember(this.meanGap, gap);
  }

  observeGap(gap: number): void {
    this.observeNext(gap);
    const memory = this.patience > 0 && gap > this.patience ? MEMORY_OF_WASTE : MEMORY;
    const bucket = gap <= NARROWEST ? 0 : Math.min(BUCKETS, Math.ceil(Math.log2(gap / NARROWEST)));
    for (let index = 0; index <= BUCKETS; index++) this.#gaps[index] = (this.#gaps[index] ?? 0) * memory;
    this.#gaps[bucket] = (this.#gaps[bucket] ?? 0) + 1;
    this.#weight = this.#weight * memory + 1;
  }

  observeMissed(inputs: number): void {
    const isKnown = this.missed !== undefined;
    this.followed = remember(
      isKnown ? this.followed : undefined,
      inputs,
      inputs < this.followed ? MEMORY_OF_MORE : MEMORY,
    );
    this.missed = remember(this.missed, inputs);
  }

  observeReturned(inputs: number): void {
    this.returned = remember(this.returned, inputs);
  }

  /**
   * The wait for the next input with the greatest expected gain, in milliseconds; 0 if no wait gains
   * anything.
   *
   * @param saved milliseconds that the next input saves by sharing the batch
   * @param later milliseconds that the inputs after it save, if it comes soon
   * @param delayed number of inputs that the wait delays
   */
  bestPatience(
    { waiting, serviceTime }: QueueSnapshot,
    saved: number,
    later: number,
    delayed: number,
  ): number {
    const soon = SOON * serviceTime(waiting);
    let best = 0;
    let gain = 0;
    let still = 1; // share of the gaps that are longer than `lower`
    let lower = 0;
    let upper = NARROWEST;
    let patience = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const credit = saved + (upper <= soon ? later : 0);
      if (upper * waiting > credit) break;
      const share = this.#weight > 0 ? (this.#gaps[bucket] ?? 0) / this.#weight : 0;
      const middle = (lower + upper) / 2;
      still -= share;
      gain += share * (credit - middle);
      gain -= delayed * (share * (middle - lower) + still * (upper - lower));
      if (gain > best) {
        best = gain;
        // All known gaps are shorter, but a few gaps do not bound the next one: allow twice the longest.
        patience = still < EPSILON ? 2 * upper : upper;
      }
      if (still < EPSILON) break;
      lower = upper;
      upper *= 2;
    }
    return patience;
  }
}

/** The mean with one more observation, by exponential forgetting. */
function remember(known: number | undefined, observed: number, memory = MEMORY): number {
  return known === undefined ? observed : known * memory + observed * (1 - memory);
}
