/** Milliseconds that the broker may need to end a request for inputs. */
const SLACK = 1_000;

/**
 * The inputs that a node has asked for and not got yet. What came, and what the broker says it has not delivered when a
 * request ends, is taken off. Requests for few are saved: while more than half of the credit is asked for, there is no other one.
 */
export class Credit {
  #asked = 0;
  #endsAt = 0;

  /** @returns how many to ask for now, which counts as asked; 0 for none */
  take(prefetch: number, credit: number, expires: number): number {
    const now = performance.now();
    // All requests have ended, so what was asked is not to be expected any more, whatever became of it.
    if (now > this.#endsAt + SLACK) this.#asked = 0;
    const room = credit - this.#asked;
    if (room <= 0 || this.#asked > prefetch / 2) return 0;
    this.#asked += room;
    this.#endsAt = now + expires;
    return room;
  }

  /** An input came. */
  came(): void {
    this.ended(1);
  }

  /** A request has ended with so many inputs not delivered. */
  ended(count: number): void {
    this.#asked = Math.max(0, this.#asked - count);
  }

  reset(): void {
    this.#asked = 0;
  }
}
