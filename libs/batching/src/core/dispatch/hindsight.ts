import type { Census } from './census.js';
import type { Decision } from './decision.js';

/** The waits that are compared, as shares of β, the time that a batch takes beside its inputs. */
const WAITS = [1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1];
/** Share that an observation keeps when the next of its kind comes: about the last ten count. */
const MEMORY = 0.9;
/** The same after a wait that did not pay, so that a load that has changed costs a few such waits, not ten. */
const MEMORY_OF_WASTE = 0.25;
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

  /**
   * Its batch has ended.
   *
   * @param missed inputs that a batch which left at once would have missed
   */
  learn(decision: Decision, missed: number, census: Census): void {
    const { waiting, beta, wait, all } = decision;
    const waited = (decision.leftAt ?? decision.since) - decision.since;
    const isHidden = (this.#isHidden = decision.hidden > 0);
    // It had to leave at once; that no input came then tells nothing of waiting.
    if (waiting >= all && missed === 0) return;
    // It left since all had come: a longer wait would have ended then, too.
    const isStopped = isHidden && waited < wait && decision.cameWithin(waited) > 0;
    const gainOf = gainOfWaits(decision, missed, census);
    const pays = waited === 0 || gainOf(waited) > 0;
    if (waited > 0) this.#pause = pays ? Math.max(1, this.#pause / 2) : Math.min(RAREST, 2 * this.#pause);
    for (const [index, share] of WAITS.entries()) {
      const some = isStopped ? Math.min(share * beta, waited) : share * beta;
      // What a longer wait would have seen is hidden.
      if (isHidden && some > waited) break;
      this.#gains[index]?.record(gainOf(some), pays ? MEMORY : MEMORY_OF_WASTE);
    }
  }
}

/**
 * What a wait of so many milliseconds would have gained, summed over all inputs, against leaving at once: the j inputs that join
 * save the run that they would have waited for, the others that come meanwhile a part of it, and all are delayed.
 */
function gainOfWaits(decision: Decision, missed: number, census: Census): (wait: number) => number {
  const { waiting, came, all, alpha, beta, queue } = decision;
  const { batchSize, others, serviceTime, untilOtherSlot } = queue;
  const most = Math.min(batchSize, Math.max(waiting + 1, all)) - waiting;
  const runsOf = (size: number) => (size > 0 ? size * (alpha * Math.min(size, batchSize) + beta) : 0);
  const atOnce = runsOf(missed);
  // Where another slot is free before this one is, an input that joins saves less by as much.
  const sooner = Math.max(0, serviceTime(waiting) - untilOtherSlot);
  // Callers in a loop come back for the batches after this one, which are as much later, or a run sooner where none is left out.
  const returning = untilOtherSlot < Infinity ? 0 : census.returning(waiting);
  return (wait) => {
    const joined = Math.min(most, decision.cameWithin(wait));
    // With all that may come the batch leaves.
    const elapsed = joined >= most ? (came[joined - 1] ?? wait) : wait;
    const rest = Math.max(0, missed - joined);
    const delayed = waiting + others + Math.max(missed, joined);
    const direct = atOnce - runsOf(rest) - delayed * (elapsed + alpha * joined) - joined * sooner;
    return direct + returning * ((missed > 0 && rest === 0 ? beta : 0) - elapsed);
  };
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

  record(gain: number, memory: number): void {
    const kept = this.#weight * memory;
    const surplus = gain - this.#mean;
    this.#weight = kept + 1;
    // Of the first nothing is known but itself.
    this.#deviation = (this.#deviation * kept + (kept > 0 ? Math.abs(surplus) : 0)) / this.#weight;
    this.#mean += surplus / this.#weight;
  }
}
