import { types } from 'node:util';
import type { DispatchReason } from './dispatch/dispatch-policy.js';
import type { Entry, Running } from './entry.js';
import type { Ledger } from './ledger.js';
import type { Underway } from './run/run.js';
import { isThenable } from './thenable.js';

/** Inputs that travel together, a chain of entries linked by `next`, and how each of them ends. */
export class Batch<Input> implements Underway, Running<Input> {
  readonly inputs: Input[] = [];
  readonly size: number;
  /** When its oldest input came. */
  readonly oldest: number;
  /** Whether all came in one turn of the event loop. */
  readonly ofOneTurn: boolean;
  /** Callers that have got a result; those among them that the ledger has not counted yet. */
  results = 0;
  uncounted = 0;
  /** Callers that have not got their end, and those that are not counted yet. */
  remaining: number;
  #entries: Entry<Input>[] | undefined;
  #controller: AbortController | undefined;
  #abortReason: unknown;
  #isAborted = false;

  constructor(
    readonly first: Entry<Input> | undefined,
    readonly reason: DispatchReason,
    readonly leftAt: number,
    private readonly ledger: Ledger,
  ) {
    let oldest = first?.turn;
    let ofOneTurn = true;
    for (let entry = first; entry; entry = entry.next) {
      entry.place = this;
      this.inputs.push(entry.input);
      if (entry.turn === oldest) continue;
      ofOneTurn = false;
      if (oldest && entry.turn.at < oldest.at) oldest = entry.turn;
    }
    this.oldest = oldest?.at ?? leftAt;
    this.ofOneTurn = ofOneTurn;
    this.size = this.remaining = this.inputs.length;
  }

  /** Made when it is asked for: most batch functions never do. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#isAborted) this.#controller.abort(this.#abortReason);
    return this.#controller.signal;
  }

  get isAborted(): boolean {
    return this.#isAborted;
  }

  get abortReason(): unknown {
    return this.#abortReason;
  }

  /** The first reason stands, as in an `AbortController`. */
  abort(reason: unknown): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }

  isAwaited(index: number): boolean {
    this.#entries ??= [...this];
    return this.#entries[index]?.place === this;
  }

  /** @returns what to wait for: promises in results' places are part of the run */
  settle(results: ArrayLike<unknown>): Promise<unknown> | undefined {
    let late: Promise<void>[] | undefined;
    let index = 0;
    for (let entry = this.first; entry; entry = entry.next) {
      try {
        const result = results[index++];
        if (isThenable(result)) (late ??= []).push(this.#settleLater(entry, result));
        else this.#give(entry, result);
      } catch (error) {
        // A result that cannot even be looked at is its own caller's alone.
        this.#reject(entry, error);
      }
    }
    this.ledger.count(this);
    return late && Promise.all(late);
  }

  /** Ends all inputs that have not ended. */
  reject(error: unknown): void {
    this.ledger.count(this);
    for (const entry of this) this.#reject(entry, error);
  }

  /** The caller of an input gives up. With the last of them the batch is aborted. */
  giveUp(entry: Entry<Input>, error: unknown): void {
    this.#reject(entry, error);
    if (this.remaining === this.uncounted) this.abort(error);
  }

  *[Symbol.iterator](): Generator<Entry<Input>> {
    for (let entry = this.first; entry; entry = entry.next) yield entry;
  }

  async #settleLater(entry: Entry<Input>, result: PromiseLike<unknown>): Promise<void> {
    try {
      this.#give(entry, await result);
      this.ledger.count(this);
    } catch (error) {
      this.#reject(entry, error);
    }
  }

  #give(entry: Entry<Input>, result: unknown): void {
    if (isError(result)) {
      this.#reject(entry, result);
    } else if (entry.place === this) {
      this.uncounted++;
      entry.end();
      entry.resolve(result);
    }
  }

  #reject(entry: Entry<Input>, error: unknown): void {
    if (entry.place !== this) return;
    this.remaining--;
    this.ledger.fail();
    entry.end();
    entry.reject(error);
  }
}

/** Errors of another realm (a vm context, Jest) are no `instanceof Error` here. */
function isError(value: unknown): value is Error {
  return typeof value === 'object' && (value instanceof Error || types.isNativeError(value));
}
