import type { Batch } from './batch.js';
import type { Clock } from './clock.js';
import { type Slots, slotsOf } from './lane.js';
import type { ResolvedOptions } from './options.js';
import { Progress, Standstill } from './progress.js';

/**
 * The batches that run, and the slots that they hold: each one of the queue's `concurrency`, and one of its
 * lane.
 */
export class RunningBatches<Input> {
  readonly all = new Set<Batch<Input>>();
  readonly #lane: Slots | undefined;
  readonly #progress = new Progress();
  readonly #standstill: Standstill;

  /**
   * @param waiting returns the number of inputs that wait
   * @param retry called when the lane may have a slot for this queue, after `tryAcquireSlot` returned false
   */
  constructor(
    private readonly options: ResolvedOptions<Input>,
    private readonly waiting: () => number,
    private readonly retry: () => void,
    clock: Clock,
  ) {
    this.#lane = slotsOf(options.lane);
    this.#standstill = new Standstill(options.name, waiting, () => this.#holders, clock);
  }

  /** Whether fewer than `concurrency` batches run. */
  get hasSlot(): boolean {
    return this.all.size < this.options.concurrency;
  }

  /**
   * Takes a slot of the lane, if there is a lane. @returns false if none is free; then `retry` is called
   * later
   */
  tryAcquireSlot(now: number): boolean {
    if (!this.#lane || this.#lane.tryAcquire(this.retry, now)) return true;
    this.#standstill.watch(this.#lane.progress, now);
    return false;
  }

  /** Gives up the queue's turn in the lane: it has no batch that leaves now. */
  withdraw(now: number): void {
    this.#lane?.withdraw(this.retry);
    if (!this.hasSlot && this.waiting() > 0) this.#standstill.watch(this.#progress, now);
  }

  start(batch: Batch<Input>, now: number): void {
    this.all.add(batch);
    this.#progress.started(now);
  }

  end(batch: Batch<Input>, ran: number, now: number): void {
    this.all.delete(batch);
    this.#progress.ended(now, ran);
    this.#lane?.release(ran, now);
  }

  /** Stops watching for a standstill: no input waits, or the clock was replaced. */
  clearAlarm(): void {
    this.#standstill.clear();
  }

  /** Progress of the batches that hold the slots which inputs wait for; `undefined` if a slot is free. */
  get #holders(): Progress | undefined {
    if (!this.hasSlot) return this.#progress;
    return this.#lane?.hasWaiting(this.retry) ? this.#lane.progress : undefined;
  }
}
