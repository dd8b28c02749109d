import type { Census } from './census.js';
import type { Decision } from './decision.js';

/** The waits that are compared, as shares of β, the time that a batch takes beside its inputs. */
const WAITS = [1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1];
/** Share that an observation keeps when the next of its kind comes: about the last ten count. */
const MEMORY = 0.9;
/** The same after a wait that did not pay, so that a load that has changed costs a few such waits, not ten. */
const MEMORY_OF_WASTE = 0.25;
/** No mean gain falls below so many β for each input that waits, so that one burst is enough to learn. */
const FLOOR = 0.8;
/** Longest pause between two probes, in decisions. */
const RAREST = 256;

/** What the waits would have gained at moments of one kind. */
export class Hindsight {
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
    const { waiting, beta, wait, all, isProbe, missed } = decision;
    const isHidden = decision.hidden > 0;
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
  const direct =
    missed * runOf(missed) - rest * runOf(rest) - delayed * (elapsed + alpha * joined) - joined * sooner;
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

  /** @param floor the mean does not fall below it */
  record(gain: number, memory: number, floor: number): void {
    const kept = this.#weight * memory;
    const surplus = gain - this.#mean;
    this.#weight = kept + 1;
    // Of the first nothing is known but itself.
    this.#deviation = (this.#deviation * kept + (kept > 0 ? Math.abs(surplus) : 0)) / this.#weight;
    this.#mean = Math.max(floor, this.#mean + surplus / this.#weight);
  }
}
