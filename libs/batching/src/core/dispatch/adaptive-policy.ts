import type { DispatchPolicy, DispatchReason, QueueView } from './dispatch-policy.js';

/**
 * Waits only while waiting pays.
 *
 * With a free slot and n inputs waiting, the gap until the next input is known from what followed in the same situation
 * before: the same n, counted from an arrival, or from the end of a batch amid arrivals or not. So is what follows
 * when the batch leaves without it: m others come while the batch runs and share the next one, and r come while that
 * one runs. Against this, with s(n) = α n + β, a next input that comes after g and is waited for
 * - saves β, as it shares a run, and α (m + r − n), as it lengthens this batch instead of the next;
 * - spares the r their part of β, as those who all join leave no next batch to wait for;
 * - delays all by g: the n, the m, the r and itself.
 * The same is reckoned for the k-th to come, by the mean gaps: where the first lets wait for it and the others follow
 * closely, as clients do who have just been answered, what these save counts for the first, too.
 * With several slots it saves less by as much as another one is free sooner than this batch ends, and no r has to wait
 * for the next batch. With groups it saves what it does only if it may share the batch, and it delays the others, too.
 *
 * The policy waits for the w with the greatest expected gain, if any gain is above 0. Under steady arrivals none is,
 * so nobody waits; a lone caller's next input never comes before its own result, so it never waits either. What pays
 * is waiting within a burst, and after a batch for the callers it has just answered. The derivation and its sources
 * are in docs/adr/0003-adaptive-dispatch.md.
 */
export class AdaptivePolicy implements DispatchPolicy {
  reason: DispatchReason = 'idle';
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
    // A batch that nobody missed has no next one that others would have to sit out.
    this.#leftBefore = this.#came > 0 ? this.#left : [];
    this.#left = [];
    this.#endedAt = now;
  }

  leaveAt(queue: QueueView, now: number): number {
    const { waiting, others, oldest, maxDelay, serviceTime } = queue;
    if (waiting + others > 1) this.#sharing = remember(this.#sharing, waiting / (waiting + others));
    if (this.#endedAt !== undefined && !(this.#situation && this.#since > this.#endedAt)) {
      // Just before: if another came as soon after, to wait for it would cost less than a run.
      const isAmid = (this.#endedAt - this.#lastCame) * waiting < serviceTime(1);
      this.#enter((isAmid ? this.#afterEndAmid : this.#afterEnd).at(waiting), this.#endedAt);
    }
    this.#endedAt = undefined;
    const situation = this.#situation;
    const known =
      situation?.missed === undefined
        ? (this.#afterArrival.nearest(waiting) ?? this.#afterEnd.nearest(waiting))
        : situation;
    const more = waiting - (known?.waiting ?? 0);
    const missed = Math.max(0, (known?.missed ?? 0) - more);
    // Where another slot is free before, nobody has to wait for the next batch to end.
    const returned = queue.untilOtherSlot < Infinity ? 0 : (known?.returned ?? 0) * waiting;
    const saved = savings(queue, missed, returned, this.#sharing ?? 1);
    const delayed = waiting + others + missed + returned;
    const ahead = this.#ahead(waiting, (known?.followed ?? 0) - more, saved, delayed);
    const patience = situation?.patience(queue, saved(0), ahead, delayed) ?? 0;
    const leaveAt = this.#since + patience;
    const latest = oldest + maxDelay;
    this.reason = latest <= leaveAt ? 'delay' : 'idle';
    return patience === 0 ? now : Math.min(leaveAt, latest);
  }

  /** What it gains to wait for those who follow the next input, by the means of their gaps: 0 if nothing. */
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

/** Beyond so many waiting inputs, situations are told apart by powers of two only. */
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
/** The same after waiting in vain, so that a load that has changed costs one or two such waits and not eleven. */
const MEMORY_IN_VAIN = 0.25;
/** The same where fewer followed than before: it is better to wait too little than for those of another load. */
const MEMORY_OF_MORE = 0.5;
/** Share of a run within which the next input must come for others to be expected after it. */
const SOON = 0.7;

/** Of shares that add up to 1. */
const EPSILON = 1e-9;

/** What followed in one situation. */
class Situation {
  /** Inputs that came after such a moment, until the batch that left then or later ended; undefined if none has. */
  missed: number | undefined;
  /** The same, but sooner down than up. */
  followed = 0;
  /** Milliseconds until the next input; undefined if none has come. */
  meanGap: number | undefined;
  /** Inputs that came while the batch after that ran, for each input of the first. */
  returned: number | undefined;
  /** Weights of the gaps until the next input; the last bucket takes all that are longer. */
  readonly #gaps = new Float64Array(BUCKETS + 1);
  #weight = 0;
  #patience = 0;

  constructor(readonly waiting: number) {}

  /** The next input came after `gap`. */
  observeNext(gap: number): void {
    this.meanGap = remember(this.meanGap, gap);
  }

  observeGap(gap: number): void {
    this.observeNext(gap);
    const memory = this.#patience > 0 && gap > this.#patience ? MEMORY_IN_VAIN : MEMORY;
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
   * How long to wait for the next input, in milliseconds: 0 if no waiting gains anything. It saves `saved`, and those who
   * follow soon `ahead`, and delays so many others.
   */
  patience({ waiting, serviceTime }: QueueView, saved: number, ahead: number, delayed: number): number {
    const soon = SOON * serviceTime(waiting);
    let best = 0;
    let gain = 0;
    let still = 1; // share of the gaps that are longer than `lower`
    let lower = 0;
    let upper = NARROWEST;
    this.#patience = 0;
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
        this.#patience = still < EPSILON ? 2 * upper : upper;
      }
      if (still < EPSILON) break;
      lower = upper;
      upper *= 2;
    }
    return this.#patience;
  }
}

function remember(known: number | undefined, observed: number, memory = MEMORY): number {
  return known === undefined ? observed : known * memory + observed * (1 - memory);
}
