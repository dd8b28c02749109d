import { Alarm } from './alarm.js';
import type { Clock } from './clock.js';

/** Milliseconds without any progress that are suspicious, and batches as long as the longest so far. */
const STANDSTILL = 30_000;
const STANDSTILL_IN_BATCHES = 10;

/** Whether the batches that hold a number of slots come and go. */
export class Progress {
  /** When a batch last started or ended. */
  movedAt = -Infinity;
  #longest = 0;

  /** A batch has taken a slot. */
  started(now: number): void {
    this.movedAt = now;
  }

  /** A batch has given its slot back, having run for `ran` milliseconds. */
  ended(now: number, ran: number): void {
    this.movedAt = now;
    if (ran > this.#longest) this.#longest = ran;
  }

  /** From when on it is a standstill for inputs that wait since then, if no batch starts or ends before. */
  standstillAt(since = -Infinity): number {
    const limit = Math.max(STANDSTILL, STANDSTILL_IN_BATCHES * this.#longest);
    return Math.max(this.movedAt, since) + limit;
  }
}

/**
 * Warns once, with a process warning, when inputs wait for a slot and no batch has started or ended for long: the batches
 * that hold the slots may wait for these very inputs.
 */
export class Standstill {
  readonly #alarm: Alarm;
  #hasWarned = false;

  /**
   * @param queue its name
   * @param waiting inputs that wait
   * @param holders the batches that hold the slots the inputs wait for; `undefined` if they wait for none
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

  /** Inputs may wait, and these batches hold all slots. */
  expect(progress: Progress, now: number): void {
    if (this.waiting() === 0 || this.#hasWarned) return;
    if (this.#alarm.at < Infinity && !this.#alarm.isOverdue(now)) return;
    this.#alarm.set(progress.standstillAt(now), now);
  }

  clear(): void {
    this.#alarm.clear();
  }

  #look(now: number): void {
    const progress = this.holders();
    // Else a slot is free again, and the inputs wait for others.
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
