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
