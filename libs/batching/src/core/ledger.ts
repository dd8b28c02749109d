import { show, showThrown } from './checks.js';
import type { DispatchReason } from './dispatch/dispatch-policy.js';
import { RecentDistribution, type Totals } from './distribution.js';
import { endBatch, type WatchedBatch } from './events.js';
import { invariant } from './invariant.js';
import type { BatchReport, DropReason, Measure, QueueStats } from './stats.js';
import { isThenable } from './thenable.js';
import type { BatchObserver, ObservedBatch } from './watch.js';

type Counted =
  | 'submitted'
  | 'coalesced'
  | 'settled'
  | 'results'
  | 'errors'
  | 'dropped'
  | 'drops'
  | 'waiting'
  | 'running'
  | 'batches'
  | 'dispatches'
  | 'batchSizes'
  | 'waitTime'
  | 'runTime';

/** Numbers of callers that joined the input of another caller (`coalesce`), by the phase of that input. */
export type Joined = Record<'blocked' | 'waiting' | 'running', number>;

/** What the ledger reads and counts of a batch. */
interface Recorded extends ObservedBatch {
  number: number;
  readonly ofOneTurn: boolean;
  readonly failure: { readonly error: unknown } | undefined;
  readonly event: WatchedBatch | undefined;
  results: number;
  uncounted: number;
  remaining: number;
}

/**
 * Counts inputs and batches by their ends, keeps distributions of sizes and times, and reports batches to
 * listeners.
 */
export class Ledger {
  /** Inputs taken in since the queue was built. */
  entered = 0;
  /** Of the inputs that ran and ended in an error, those whose signal aborted. */
  abortedWhileRunning = 0;
  /** Inputs dropped without having been taken in. */
  #refused = 0;
  #results = 0;
  #errors = 0;
  #running = 0;
  /** Batches that have left. */
  #batches = 0;
  /** Callers that have joined the input of another caller (`coalesce`). */
  #joined = 0;
  readonly #drops: Record<DropReason, number> = { aborted: 0, timeout: 0, full: 0, stopped: 0 };
  readonly #dispatches: Record<DispatchReason, number> = { size: 0, delay: 0, idle: 0, drain: 0 };
  readonly #batchSizes = new RecentDistribution(1);
  readonly #waitTime = new RecentDistribution(1000);
  readonly #runTime = new RecentDistribution(1000);
  readonly #listeners = new Set<(report: BatchReport) => unknown>();
  readonly #observers = new Set<BatchObserver>();

  /**
   * @param queue name of the queue
   * @param waiting returns the number of inputs that wait now
   * @param joined returns the numbers of callers that have joined an input and not ended
   */
  constructor(
    private readonly queue: string,
    private readonly waiting: () => number,
    private readonly joined: () => Joined,
  ) {}

  /** Counts an input that was taken in. */
  enter(): void {
    this.entered++;
  }

  /** Counts inputs that were dropped without having been taken in. */
  refuse(reason: DropReason, count = 1): void {
    this.#refused += count;
    this.#drops[reason] += count;
  }

  /** Counts an input that was dropped while it waited. */
  drop(reason: DropReason): void {
    this.#drops[reason]++;
  }

  /** Counts a caller that joined an input; at the door it is not submitted yet. */
  join(): void {
    this.#joined++;
  }

  /** Counts callers that had joined an input that ran. */
  endJoined(count: number, isResult: boolean): void {
    if (isResult) this.#results += count;
    else this.#errors += count;
  }

  /** Counts a batch that leaves, and the waits of its inputs, and gives it its number. */
  leave(batch: Recorded, now: number): void {
    batch.number = ++this.#batches;
    this.#dispatches[batch.reason]++;
    this.#running += batch.size;
    this.#batchSizes.record(batch.size, 1, now);
    this.#recordWaits(batch);
    if (this.#observers.size > 0) for (const observer of this.#observers) observer.left(batch);
  }

  #recordWaits({ first, size, oldest, ofOneTurn, leftAt }: Recorded): void {
    if (ofOneTurn) {
      this.#waitTime.record(leftAt - oldest, size, leftAt);
      return;
    }
    for (let entry: ObservedBatch['first'] | undefined = first; entry; entry = entry.next)
      this.#waitTime.record(leftAt - entry.turn.at, 1, leftAt);
  }

  /**
   * Counts the results given since the last call: once per batch, as counting each is too slow for the
   * hottest path.
   */
  count(batch: Recorded): void {
    batch.results += batch.uncounted;
    batch.remaining -= batch.uncounted;
    this.#results += batch.uncounted;
    this.#running -= batch.uncounted;
    batch.uncounted = 0;
  }

  /** Counts an input that ran and ended in an error. */
  fail(): void {
    this.#errors++;
    this.#running--;
  }

  /** Records that a batch ended after a run of `ran` milliseconds, and reports it. */
  end(batch: Recorded, ran: number, now: number): void {
    invariant(batch.remaining === 0, 'a batch ended before its inputs');
    this.#runTime.record(ran, 1, now);
    if (this.#observers.size > 0) for (const observer of this.#observers) observer.ended(batch, ran);
    if (this.#listeners.size > 0 || batch.event) this.#report(batch, ran);
  }

  /** Unlike a listener, an observer belongs to this library and must not throw. */
  watch(observer: BatchObserver): () => void {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  }

  onBatch(listener: (report: BatchReport) => void): () => void {
    if (typeof listener !== 'function') {
      throw new TypeError(`onBatch: expected a function, got ${show(listener)}`);
    }
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #report({ size, reason, leftAt, oldest, results, failure, event }: Recorded, ran: number): void {
    const { queue } = this;
    const errors = size - results;
    const report = { queue, size, reason, waited: leftAt - oldest, ran, results, errors, ...failure };
    if (event) endBatch(event, report);
    const warn = (thrown: unknown) => {
      process.emitWarning(`a listener of ${queue} threw: ${showThrown(thrown)}`, 'BatchingWarning');
    };
    // A copy: a listener may add or remove listeners.
    for (const listener of [...this.#listeners]) {
      try {
        const returned = listener(report);
        if (isThenable(returned)) returned.then(undefined, warn);
      } catch (error) {
        warn(error);
      }
    }
  }

  totals(of: Measure, bounds: readonly number[]): Totals {
    const measured = {
      batchSizes: this.#batchSizes,
      waitTime: this.#waitTime,
      runTime: this.#runTime,
    };
    return measured[of].totals(bounds);
  }

  stats(now: number): Pick<QueueStats, Counted> {
    const { aborted, timeout, full, stopped } = this.#drops;
    const joined = this.joined();
    const coalesced = this.#joined - joined.blocked;
    const submitted = this.entered + this.#refused + coalesced;
    const settled = this.#results + this.#errors;
    const dropped = aborted + timeout + full + stopped;
    const waiting = this.waiting() + joined.waiting;
    const running = this.#running + joined.running;
    // Law 2 of docs/contract.md.
    invariant(
      submitted === settled + dropped + waiting + running,
      'an input is counted twice, or not at all',
    );
    return {
      submitted,
      coalesced,
      settled,
      results: this.#results,
      errors: this.#errors,
      dropped,
      drops: { ...this.#drops },
      waiting,
      running,
      batches: this.#batches,
      dispatches: { ...this.#dispatches },
      batchSizes: this.#batchSizes.summarize(now),
      waitTime: this.#waitTime.summarize(now),
      runTime: this.#runTime.summarize(now),
    };
  }
}
