import type { DispatchPolicy, Plan, QueueSnapshot } from './dispatch-policy.js';

/** The waits that are compared, as shares of β, the time that a batch takes beside its inputs. */
const WAITS = [1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1];
/** Share that an observation keeps when the next of its kind comes: about the last ten count. */
const MEMORY = 0.9;
/** The same after a wait that did not pay, so that a load that has changed costs a few such waits, not ten. */
const MEMORY_OF_WASTE = 0.25;
/** Variance of a steady census, as a share of its mean beyond the one that waits. */
const DISPERSION = 0.3;
/** Decisions for which a census must be steady before it is taken for more than chance. */
const SETTLED = 8;
/** Batches that are shifted together with one of a crowd. */
const SHIFTED_STEADY = 10;
/** No mean gain falls below so many β for each input that waits. */
const FLOOR = 0.8;
/** Longest pause between two probes, in decisions. */
const RAREST = 256;
/** Arrivals of one decision that are remembered. */
const REMEMBERED = 256;

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
 * The derivation, figures and sources are in docs/adr/0006-hindsight.md.
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
    this.#decision?.arrived(count, since, since < now);
  }

  left(_size: number, now: number): void {
    if (this.#decision) this.#decision.leftAt ??= now;
  }

  ended(now: number, size: number): void {
    const decision = this.#decision;
    this.#endedAt = now;
    this.#census.answered(size, now + (this.#serviceTime?.(size) ?? 0));
    if (decision?.leftAt === undefined) return;
    decision.hindsight.learn(decision, this.#census);
    this.#census.record(decision.present);
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

/** What was known when a batch could first leave, how long it was to wait, and what came since. */
class Decision {
  readonly waiting: number;
  /** Milliseconds that a batch takes for each input, and beside its inputs, as far as is known. */
  readonly alpha: number;
  readonly beta: number;
  /** With so many waiting every caller is there; `Infinity` if not known. */
  readonly all: number;
  /** Milliseconds to wait from `since`. */
  readonly wait: number;
  readonly isProbe: boolean;
  leftAt: number | undefined;
  /** When the others came, in milliseconds from `since`, in their order. */
  readonly came: number[] = [];
  /** Whether the batch hid when they came. */
  isHidden = false;

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
    this.isProbe = false;
    this.wait = this.isComplete ? 0 : hindsight.bestWait(this.beta, census.crowds);
    if (this.wait > 0 || this.isComplete || !census.isSettled || !hindsight.isProbeDue()) return;
    this.isProbe = true;
    const missing = this.all - waiting;
    const returning = census.returning(waiting);
    // Nearly the longest wait that pays if all that are missing come at its end.
    this.wait = (0.9 * this.beta * (missing + returning)) / (waiting + queue.others + missing + returning);
  }

  arrived(count: number, at: number, isHidden: boolean): void {
    this.isHidden ||= isHidden;
    // Hidden inputs came after the batch had left.
    const after = Math.max(0, at - this.since) + (isHidden ? Number.EPSILON : 0);
    for (let one = 0; one < count && this.came.length < REMEMBERED; one++) this.came.push(after);
  }

  /** Whether every caller is there. */
  get isComplete(): boolean {
    return this.waiting + this.came.length >= this.all;
  }

  cameWithin(time: number): number {
    let count = 0;
    while (count < this.came.length && (this.came[count] ?? Infinity) <= time) count++;
    return count;
  }

  /** Inputs that came in the time of a run: they missed a batch that left at once. */
  get missed(): number {
    return this.cameWithin(this.queue.serviceTime(this.waiting));
  }

  /** Inputs that were there: those that waited, and those that came in the time of a run. */
  get present(): number {
    return this.waiting + this.missed;
  }
}

/** What the waits would have gained at moments of one kind. */
class Hindsight {
  readonly #gains = WAITS.map(() => new Gain());
  /** Whether the batches hide when inputs come. */
  #isHidden = false;
  /** Decisions until the next probe, and from that to the one after it. */
  #untilProbe = 0;
  #pause = 1;
  #crowds = 0;

  /** The wait that has gained most, in milliseconds; 0 if none has gained. */
  bestWait(beta: number, crowds: number): number {
    if (this.#crowds !== crowds) {
      // What did not pay for other callers may pay for these.
      this.#crowds = crowds;
      this.#untilProbe = 0;
      this.#pause = 1;
    }
    let best = 0;
    let share = 0;
    for (const [index, gain] of this.#gains.entries()) {
      if (gain.atLeast > best) [best, share] = [gain.atLeast, WAITS[index] ?? 0];
    }
    return share * beta;
  }

  /** Whether to wait without knowing that it pays, since the batches hide it. */
  isProbeDue(): boolean {
    if (!this.#isHidden || this.#untilProbe-- > 0) return false;
    this.#untilProbe = this.#pause;
    return true;
  }

  /** Its batch has ended. */
  learn(decision: Decision, census: Census): void {
    const { waiting, beta, wait, all, isProbe, isHidden, missed } = decision;
    const waited = (decision.leftAt ?? decision.since) - decision.since;
    this.#isHidden = isHidden;
    // It had to leave at once; that no input came then tells nothing of waiting.
    if (waiting >= all && missed === 0) return;
    // It left since all had come: a longer wait would have ended then, too.
    const isStopped = isHidden && waited < wait && decision.cameWithin(waited) > 0;
    const gainOf = (some: number) => gainOfWait(decision, isStopped ? Math.min(some, waited) : some, census);
    let memory = MEMORY;
    if (waited > 0) {
      const pays = gainOf(waited) > 0;
      if (!pays) memory = MEMORY_OF_WASTE;
      this.#pause = pays ? Math.max(1, this.#pause / 2) : Math.min(RAREST, 2 * this.#pause);
      // What is known is older than the probe.
      if (isProbe) memory = 0;
    }
    for (const [index, share] of WAITS.entries()) {
      const some = share * beta;
      // What a longer wait would have seen is hidden.
      if (isHidden && !isStopped && some > waited) continue;
      this.#gains[index]?.record(gainOf(some), memory, -FLOOR * waiting * beta);
    }
  }
}

/**
 * What a wait of so many milliseconds would have gained, summed over all inputs, against leaving at once: the j inputs that join
 * save the run that they would have waited for, the others that come meanwhile a part of it, and all are delayed.
 */
function gainOfWait(decision: Decision, wait: number, census: Census): number {
  const { waiting, came, all, alpha, beta, missed, queue } = decision;
  const { batchSize, others, serviceTime, untilOtherSlot } = queue;
  const most = Math.min(batchSize, Math.max(waiting + 1, all)) - waiting;
  const joined = Math.min(most, decision.cameWithin(wait));
  // With all that may come the batch leaves.
  const elapsed = joined >= most ? (came[joined - 1] ?? wait) : wait;
  const rest = Math.max(0, missed - joined);
  const delayed = waiting + others + Math.max(missed, joined);
  const runOf = (size: number) => (size > 0 ? alpha * Math.min(size, batchSize) + beta : 0);
  // Where another slot is free before this one is, an input that joins saves less by as much.
  const sooner = Math.max(0, serviceTime(waiting) - untilOtherSlot);
  const direct = missed * runOf(missed) - rest * runOf(rest) - delayed * (elapsed + alpha * joined) - joined * sooner;
  // Callers in a loop come back for the batches after this one, which are as much later, or a run sooner where none is left out.
  const returning = untilOtherSlot < Infinity ? 0 : census.returning(waiting);
  return direct + returning * ((missed > 0 && rest === 0 ? beta : 0) - elapsed);
}

/** A gain in milliseconds: its mean, and how far that may be relied on. */
class Gain {
  #mean = 0;
  #deviation = 0;
  #weight = 0;

  /** The mean less its own deviation; 0 while nothing is known. */
  get atLeast(): number {
    return this.#weight > 0 ? this.#mean - this.#deviation / Math.sqrt(this.#weight) : 0;
  }

  /** @param floor the mean does not fall below it, so that one burst is enough to learn. */
  record(gain: number, memory: number, floor: number): void {
    const kept = this.#weight * memory;
    const surplus = gain - this.#mean;
    this.#weight = kept + 1;
    // Of the first nothing is known but itself.
    this.#deviation = (this.#deviation * kept + (kept > 0 ? Math.abs(surplus) : 0)) / this.#weight;
    this.#mean = Math.max(floor, this.#mean + surplus / this.#weight);
  }
}

/** How many inputs are there at a time, and how many of the answered callers come back. */
class Census {
  /** Grows each time that the census has become steady anew, since these may be other callers. */
  crowds = 0;
  #steadyFor = 0;
  #mean = 0;
  #variance = 0;
  /** Inputs of the latest batch, and of those that came within a run of its end. */
  #answered = 0;
  #back = 0;
  #backUntil = -Infinity;
  /** The same of earlier batches, with forgetting. */
  #answers = 0;
  #backs = 0;

  record(present: number): void {
    this.#mean ||= present;
    const surplus = present - this.#mean;
    this.#mean += surplus / 2;
    this.#variance = (this.#variance + (surplus * surplus) / 2) / 2;
    this.#steadyFor = this.isSteady && this.all > 1 ? this.#steadyFor + 1 : 0;
    if (this.#steadyFor === SETTLED) this.crowds++;
  }

  /** The variance of independent arrivals is their mean; that of callers in a loop is 0. */
  get isSteady(): boolean {
    return this.#variance <= DISPERSION * (this.#mean - 1) + 0.01;
  }

  /** Whether the census has been steady for so long that it is hardly by chance. */
  get isSettled(): boolean {
    return this.#steadyFor >= SETTLED;
  }

  /** With so many waiting every caller is there. */
  get all(): number {
    return this.isSteady ? Math.round(this.#mean) : Infinity;
  }

  arrived(count: number, at: number): void {
    if (at <= this.#backUntil) this.#back += count;
  }

  /** A batch of `size` has ended; callers that submit again until then have come back. */
  answered(size: number, until: number): void {
    this.#backs = this.#backs * MEMORY + Math.min(this.#back, this.#answered);
    this.#answers = this.#answers * MEMORY + this.#answered;
    this.#answered = size;
    this.#back = 0;
    this.#backUntil = until;
  }

  /** Inputs of later batches that are shifted together with a batch of `size`. */
  returning(size: number): number {
    const share = this.#answers > 0 ? this.#backs / this.#answers : 0;
    return share * size * (this.isSteady ? SHIFTED_STEADY : 1);
  }
}
