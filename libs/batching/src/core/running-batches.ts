import type { Batch } from './batch.js';
import type { Clock } from './clock.js';
import { type Slots, slotsOf } from './lane.js';
import type { ResolvedOptions } from './options.js';
import { Progress, Standstill } from './progress.js';

/** The batches that run, and the slots that they hold: `concurrency` of the queue's own, and one of its lane's each. */
export class RunningBatches<Input> {
  readonly all = new Set<Batch<Input>>();
  readonly #lane: Slots | undefined;
  readonly #progress = new Progress();
  readonly #standstill: Standstill;

  /**
   * @param waiting inputs that wait
   * @param retry called when the lane may have a slot after it had none
   */
  constructor(
    private readonly options: ResolvedOptions<Input>,
    waiting: () => number,
    private readonly retry: () => void,
    clock: Clock,
  ) {
    this.#lane = slotsOf(options.lane);
    this.#standstill = new Standstill(options.name, waiting, () => this.#holders, clock);
  }

  /** Whether the queue itself has a slot. */
  get hasSlot(): boolean {
    return this.all.size < this.options.concurrency;
  }

  /** Takes a slot of the lane; if it has none, `retry` is called when it may have one. */
  tryEnter(now: number): boolean {
    if (!this.#lane || this.#lane.tryEnter(this.retry, now)) return true;
    this.#standstill.expect(this.#lane.progress, now);
    return false;
  }

  /** No batch leaves now: the turn in the lane goes to another queue. */
  withdraw(now: number): void {
    this.#lane?.withdraw(this.retry);
    if (!this.hasSlot) this.#standstill.expect(this.#progress, now);
  }

  start(batch: Batch<Input>, now: number): void {
    this.all.add(batch);
    this.#progress.started(now);
  }

  end(batch: Batch<Input>, ran: number, now: number): void {
    this.all.delete(batch);
    this.#progress.ended(now, ran);
    this.#lane?.leave(ran, now);
  }

  /** Nothing waits for a slot, or another clock has come. */
  clearAlarm(): void {
    this.#standstill.clear();
  }

  /** Of the batches that hold the slots for which inputs wait. */
  get #holders(): Progress | undefined {
    if (!this.hasSlot) return this.#progress;
    return this.#lane?.hasWaiting(this.retry) ? this.#lane.progress : undefined;
  }
}
