import { Alarm } from './alarm.js';
import type { Clock } from './clock.js';

/** Milliseconds without a start or an end of a batch that count as a standstill. */
const STANDSTILL = 30_000;
/** The same as a multiple of the longest run so far; the longer of the two counts. */
const STANDSTILL_IN_RUNS = 10;

/** When the batches that hold a set of slots start and end. */
export class Progress {
  /** When a batch last started or ended. */
  movedAt = -Infinity;
  #longest = 0;

  started(now: number): void {
    this.movedAt = now;
  }

  /** @param ran how long the batch ran, in milliseconds */
  ended(now: number, ran: number): void {
    this.movedAt = now;
    if (ran > this.#longest) this.#longest = ran;
  }

  /**
   * When it becomes a standstill, if no batch starts or ends before.
   *
   * @param since when inputs began to wait for these slots
   */
  standstillAt(since = -Infinity): number {
    const limit = Math.max(STANDSTILL, STANDSTILL_IN_RUNS * this.#longest);
    return Math.max(this.movedAt, since) + limit;
  }
}

/**
 * Emits one process warning when inputs wait for a slot and no batch has started or ended for a long time:
 * the batches that hold the slots may be waiting for these very inputs.
 */
export class Standstill {
  readonly #alarm: Alarm;
  #hasWarned = false;

  /**
   * @param queue name of the queue
   * @param waiting returns the number of inputs that wait
   * @param holders returns the progress of the batches that hold the slots which the inputs wait for;
   *   `undefined` if a slot is free
   */
  constructor(
    private readonly queue: string,
    private readonly waiting: () => number,
    private readonly holders: () => Progress | undefined,
    clock: Clock,
  ) {
    this.#alarm = new Alarm(
      clock,
      (_at, now) => {
        this.#look(now);
      },
      false,
    );
  }

  /** Sets the alarm, if inputs wait: batches with this progress hold all slots. */
  watch(progress: Progress, now: number): void {
    if (this.waiting() === 0 || this.#hasWarned) return;
    if (this.#alarm.at < Infinity && !this.#alarm.isOverdue(now)) return;
    this.#alarm.set(progress.standstillAt(now), now);
  }

  clear(): void {
    this.#alarm.clear();
  }

  #look(now: number): void {
    const progress = this.holders();
    // A slot is free: the inputs wait for more inputs.
    if (!progress) return;
    const at = progress.standstillAt();
    if (at > now) {
      this.#alarm.set(at, now);
      return;
    }
    this.#hasWarned = true;
    process.emitWarning(
      `${this.queue}: ${this.waiting()} inputs wait, and no batch has ended for ${Math.round((now - progress.movedAt) / 1000)} s. ` +
        'A batch function that awaits its own queue, or one whose queue shares its lane, waits for itself once all slots ' +
        'are taken: submit to it from outside the batch, or raise concurrency. One that hangs needs a runTimeout',
      'BatchingWarning',
    );
  }
}
