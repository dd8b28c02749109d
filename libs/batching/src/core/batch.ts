import { types } from 'node:util';
import type { DispatchReason } from './dispatch/dispatch-policy.js';
import type { Entry, Holder } from './entry.js';
import type { WatchedBatch } from './events.js';
import type { Ledger } from './ledger.js';
import type { Underway } from './run/run.js';
import type { DropReason } from './stats.js';
import { isThenable } from './thenable.js';

/** The inputs of one run, a chain of entries linked by `next`, and how each of them ends. */
export class Batch<Input> implements Underway, Holder<Input> {
  readonly phase = 'running';
  readonly inputs: Input[] = [];
  readonly size: number;
  /** Given by the ledger when it leaves. */
  number = 0;
  /** When its oldest input was submitted. */
  readonly oldest: number;
  /** Whether all were submitted in one turn of the event loop. */
  readonly ofOneTurn: boolean;
  /** Its message for `diagnostics_channel`, if anything listens. */
  event: WatchedBatch | undefined = undefined;
  /** When its run ended, if it blocked the event loop until then. */
  ranUntil: number | undefined;
  /** Callers that have their result, as counted by the ledger. */
  results = 0;
  /** Callers that have their result, but are not counted yet. */
  uncounted = 0;
  /** Callers that have neither a result nor an error, and the uncounted ones. */
  remaining: number;
  /** Callers whose signal aborted while it ran. */
  aborted = 0;
  /** What the batch as a whole failed with. A failure that no caller was there to get is none. */
  failure: { readonly error: unknown } | undefined = undefined;
  #entries: Entry<Input>[] | undefined;
  #controller: AbortController | undefined;
  #abortReason: unknown;
  #isAborted = false;

  constructor(
    readonly first: Entry<Input>,
    readonly reason: DispatchReason,
    readonly leftAt: number,
    private readonly ledger: Ledger,
  ) {
    let oldest = first.turn;
    let ofOneTurn = true;
    for (let entry: Entry<Input> | undefined = first; entry; entry = entry.next) {
      entry.place = this;
      this.inputs.push(entry.input);
      if (entry.turn === oldest) continue;
      ofOneTurn = false;
      if (entry.turn.at < oldest.at) oldest = entry.turn;
    }
    this.oldest = oldest.at;
    this.ofOneTurn = ofOneTurn;
    this.size = this.remaining = this.inputs.length;
  }

  /** Created when it is first read: most batch functions never read it. */
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

  /** Only the first call has an effect, as with an `AbortController`. */
  abort(reason: unknown): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }

  isAwaited(index: number): boolean {
    return this.#entry(index)?.place === this;
  }

  keyOf(index: number): unknown {
    return this.#entry(index)?.extras?.key;
  }

  giveLate(index: number, result: unknown): void {
    this.#entry(index)?.extras?.onLate?.(result);
  }

  /**
   * Gives each caller its result. @returns a promise of those that are promises themselves, if there are any
   */
  settle(results: ArrayLike<unknown>): Promise<unknown> | undefined {
    let unsettled: Promise<void>[] | undefined;
    let index = 0;
    for (let entry: Entry<Input> | undefined = this.first; entry; entry = entry.next) {
      try {
        const result = results[index++];
        if (isThenable(result)) (unsettled ??= []).push(this.#settleLater(entry, result));
        else this.#give(entry, result);
      } catch (error) {
        // A getter threw: the error of this input alone.
        this.#reject(entry, error);
      }
    }
    this.ledger.count(this);
    return unsettled && Promise.all(unsettled);
  }

  /** Rejects all inputs that have not ended. */
  reject(error: unknown): void {
    this.ledger.count(this);
    if (this.remaining > 0) this.failure = { error };
    for (const entry of this) this.#reject(entry, error);
  }

  /** Rejects one caller, which gives up, and aborts the batch if it was the last. */
  giveUp(entry: Entry<Input>, reason: DropReason, error: unknown): void {
    if (reason === 'aborted') {
      this.aborted++;
      this.ledger.abortedWhileRunning++;
    }
    this.#reject(entry, error);
    if (this.remaining === this.uncounted) this.abort(error);
  }

  *[Symbol.iterator](): Generator<Entry<Input>> {
    for (let entry: Entry<Input> | undefined = this.first; entry; entry = entry.next) yield entry;
  }

  #entry(index: number): Entry<Input> | undefined {
    this.#entries ??= [...this];
    return this.#entries[index];
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
    } else {
      entry.extras?.onLate?.(result);
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

/** An `Error` of another realm (a vm context, Jest) is not `instanceof Error` here. */
function isError(value: unknown): value is Error {
  return typeof value === 'object' && (value instanceof Error || types.isNativeError(value));
}
