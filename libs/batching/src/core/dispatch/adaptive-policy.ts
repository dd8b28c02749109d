import type { DispatchPolicy, Plan, QueueView } from './dispatch-policy.js';

/**
 * Waits only while waiting pays.
 *
 * With a free slot and n inputs waiting, the gap until the next input is known from what followed in the same situation
 * before: the same n, counted from an arrival, or from the end of a batch amid arrivals or not. So is what follows
 * when the batch leaves without it: m inputs come while the batch runs and share the next one, and r come while that
 * one runs. A batch of n takes s(n) = α n + β. To wait for a next input that comes after a gap of g
 * - saves β, since it shares a run, and α (m + r − n), since it lengthens this batch instead of the next;
 * - saves the r inputs a share of β: if all join, no second batch delays them;
 * - delays by g all n + m + r inputs, and itself.
 * The same is computed for the k-th input to come, by the mean gaps. Where others follow the next input closely, as the
 * callers of one batch do when they submit again, what these save is added to what it saves.
 * With several slots an input saves less by as much as another slot is free before this batch ends, and no r has to wait
 * for the next batch. With groups it saves only if it may share the batch, and the wait delays the other groups, too.
 *
 * The policy waits for the time with the greatest expected gain, if any gain is above 0. Under steady arrivals none is,
 * so it does not wait; nor for a lone caller, whose next input never comes before its own result. Waiting pays within a
 * burst, and after a batch for the callers that it has just answered. The derivation and its sources are in
 * docs/adr/0003-adaptive-dispatch.md.
 */
export class AdaptivePolicy implements DispatchPolicy {
  readonly #afterArrival = new Situations();
  /** After the end of a batch, when the last input had come long before, or just before: a burst may be under way. */
  readonly #afterEnd = new Situations();
  readonly #afterEndAmid = new Situations();
  /** Where the queue stands since `#since`, until the next input comes. */
  #situation: Situation | undefined;
  #since = 0;
  /** When the last batch ended, while no decision has been taken since. */
  #endedAt: number | undefined;
  /** Situations that the inputs waiting have been in, those of the batch that left last, and of the one before it. */
  #passed: Situation[] = [];
  #left: Situation[] = [];
  #leftBefore: Situation[] = [];
  #lastCame = -Infinity;
  /** Inputs that have come since a batch left. */
  #came = 0;
  /** Inputs of the batch that left last. */
  #leftSize = 0;
  /** Share of the inputs waiting that may travel together; 1 without groups. */
  #sharing: number | undefined;

  arrived(count: number, waiting: number, slotFree: boolean, now: number): void {
    this.#came += count;
    this.#lastCame = now;
    // Negative where the clock has been replaced, as in a test.
    this.#situation?.observeGap(Math.max(0, now - this.#since));
    // While a batch runs: as many as would be waiting had it waited, so that it is known what follows if one does.
    const together = slotFree ? waiting : this.#leftSize + this.#came;
    for (let size = together - Math.min(count, FINE) + 1; size < together; size++) {
      this.#afterArrival.at(size).observeNext(0);
    }
    if (slotFree) this.#enter(this.#afterArrival.at(waiting), now);
    else this.#watch(this.#afterArrival.at(together), now);
  }

  // The sizes of batches are not used: a situation knows how many waited in it.
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
    // After a batch that no input missed comes no next one that others would have to wait for.
    this.#leftBefore = this.#came > 0 ? this.#left : [];
    this.#left = [];
    this.#endedAt = now;
  }

  opened(queue: QueueView): void {
    const { waiting, others, serviceTime } = queue;
    if (waiting + others > 1) this.#sharing = remember(this.#sharing, waiting / (waiting + others));
    if (this.#endedAt !== undefined && !(this.#situation && this.#since > this.#endedAt)) {
      // Just before: if another came as soon after, to wait for it would cost less than a run.
      const isAmid = (this.#endedAt - this.#lastCame) * waiting < serviceTime(1);
      this.#enter((isAmid ? this.#afterEndAmid : this.#afterEnd).at(waiting), this.#endedAt);
    }
    this.#endedAt = undefined;
    if (this.#situation) this.#situation.patience = this.#patience(queue, this.#situation);
  }

  plan(queue: QueueView, now: number): Plan {
    const patience = this.#situation?.patience ?? 0;
    const leaveAt = this.#since + patience;
    const latest = queue.oldest + queue.maxDelay;
    return {
      at: patience === 0 ? now : Math.min(leaveAt, latest),
      reason: latest <= leaveAt ? 'delay' : 'idle',
    };
  }

  /** How long to wait from the beginning of the situation, in milliseconds: 0 if no waiting gains anything. */
  #patience(queue: QueueView, situation: Situation): number {
    const { waiting, others } = queue;
    const known =
      situation.missed === undefined
        ? (this.#afterArrival.nearest(waiting) ?? this.#afterEnd.nearest(waiting))
        : situation;
    const more = waiting - (known?.waiting ?? 0);
    const missed = Math.max(0, (known?.missed ?? 0) - more);
    // Where another slot is free before, no input has to wait for the next batch to end.
    const returned = queue.untilOtherSlot < Infinity ? 0 : (known?.returned ?? 0) * waiting;
    const saved = savings(queue, missed, returned, this.#sharing ?? 1);
    const delayed = waiting + others + missed + returned;
    const ahead = this.#ahead(waiting, (known?.followed ?? 0) - more, saved, delayed);
    return situation.bestPatience(queue, saved(0), ahead, delayed);
  }

  /** Expected gain, in milliseconds, of also waiting for the inputs after the next, by the means of their gaps; 0 if none. */
  #ahead(waiting: number, following: number, saved: (came: number) => number, delayed: number): number {
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

  #enter(situation: Situation, now: number): void {
    this.#watch(situation, now);
    // Inputs may have gone without a batch; kept in rising order, the list cannot grow without bound.
    while ((this.#passed.at(-1)?.waiting ?? -1) >= situation.waiting) this.#passed.pop();
    this.#passed.push(situation);
  }

  #watch(situation: Situation, now: number): void {
    this.#situation = situation;
    this.#since = now;
  }
}

/**
 * What an input that joins saves, by how many have joined before it. That those in a loop come back later for it counts
 * for the first alone: the rest would wait too often (docs/adr/0003-adaptive-dispatch.md).
 */
function savings(queue: QueueView, missed: number, returned: number, sharing: number) {
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

/** Beyond so many waiting inputs, situations differ by powers of two only. */
const FINE = 64;

/** The situations of one origin, by the number of inputs waiting. */
class Situations {
  readonly #byWaiting: (Situation | undefined)[] = [];

  at(waiting: number): Situation {
    const index = waiting <= FINE ? waiting : FINE + Math.ceil(Math.log2(waiting / FINE));
    return (this.#byWaiting[index] ??= new Situation(waiting));
  }

  /** The situation with the most inputs, but no more than `waiting`, from which batches are known to have left. */
  nearest(waiting: number): Situation | undefined {
    for (let fewer = Math.min(waiting, FINE); fewer > 0; fewer--) {
      if (this.#byWaiting[fewer]?.missed !== undefined) return this.#byWaiting[fewer];
    }
    return undefined;
  }
}

/** Gaps are counted in buckets that double in width: up to 0.02 ms, 0.04 ms, … 1.3 s. */
const NARROWEST = 0.02;
const BUCKETS = 17;
/** Share that an observation keeps when the next of its kind comes: about the last eleven count. */
const MEMORY = 0.91;
/** The same after a wait for which no input came, so that a load that has changed costs one or two such waits, not eleven. */
const MEMORY_OF_WASTE = 0.25;
/** The same where fewer followed than before: it is better to wait too little than for inputs of another load. */
const MEMORY_OF_MORE = 0.5;
/** Share of a run within which the next input must come for others to be expected after it. */
const SOON = 0.7;

/** Rounding tolerance when shares are summed to 1. */
const EPSILON = 1e-9;

/** What followed in one situation. */
class Situation {
  /** Inputs that came after such a moment, until the batch that left then or later ended; undefined if none has. */
  missed: number | undefined;
  /** Like `missed`, but falls faster than it rises. */
  followed = 0;
  /** Milliseconds until the next input; undefined if none has come. */
  meanGap: number | undefined;
  /** Inputs that came while the batch after that ran, for each input of the first. */
  returned: number | undefined;
  /** Weights of the gaps until the next input; the last bucket takes all that are longer. */
  readonly #gaps = new Float64Array(BUCKETS + 1);
  #weight = 0;
  /** The wait chosen when the queue last looked at a batch in this situation, in milliseconds. */
  patience = 0;

  constructor(readonly waiting: number) {}

  /** The next input came after `gap`. */
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
   * The wait for the next input with the greatest expected gain, in milliseconds: 0 if no waiting gains anything.
   *
   * @param saved what the next input saves by sharing the batch, in milliseconds
   * @param ahead what the inputs after it save, if it comes soon
   * @param delayed inputs that the wait delays
   */
  bestPatience({ waiting, serviceTime }: QueueView, saved: number, ahead: number, delayed: number): number {
    const soon = SOON * serviceTime(waiting);
    let best = 0;
    let gain = 0;
    let still = 1; // share of the gaps that are longer than `lower`
    let lower = 0;
    let upper = NARROWEST;
    let patience = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const credit = saved + (upper <= soon ? ahead : 0);
      if (upper * waiting > credit) break;
      const share = this.#weight > 0 ? (this.#gaps[bucket] ?? 0) / this.#weight : 0;
      const middle = (lower + upper) / 2;
      still -= share;
      gain += share * (credit - middle);
      gain -= delayed * (share * (middle - lower) + still * (upper - lower));
      if (gain > best) {
        best = gain;
        // So few gaps cannot tell where they end: if all were shorter, one may well be twice as long.
        patience = still < EPSILON ? 2 * upper : upper;
      }
      if (still < EPSILON) break;
      lower = upper;
      upper *= 2;
    }
    return patience;
  }
}

function remember(known: number | undefined, observed: number, memory = MEMORY): number {
  return known === undefined ? observed : known * memory + observed * (1 - memory);
}
