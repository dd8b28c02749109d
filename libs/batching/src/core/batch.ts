import type { Alarm } from './alarm.js';
import type { DispatchReason } from './dispatch/dispatch-policy.js';
import type { Entry, Run } from './entry.js';

/** What a batch function is told about its batch. */
export interface BatchContext {
  /** Aborted when every caller of the batch has gone, when its `runTimeout` is over, and on a hard stop. */
  readonly signal: AbortSignal;
}

/** Inputs that travel together: a chain of entries, linked by `next`. */
export class Batch<Input> implements BatchContext, Run {
  readonly inputs: Input[] = [];
  readonly size: number;
  /** When its oldest input came. */
  readonly oldest: number;
  /** Whether all came in one turn of the event loop. */
  readonly ofOneTurn: boolean;
  /** Callers that have got a result; those among them that the queue has not counted yet. */
  results = 0;
  uncounted = 0;
  /** Callers that have not got their end, and those that are not counted yet. */
  remaining: number;
  /** Settle when the promises in results' places have, if there are any. */
  late: Promise<void>[] | undefined;
  /** Rings when a run of the batch function has taken its `runTimeout`. */
  limit: Alarm | undefined;
  #controller: AbortController | undefined;
  #abortedWith: unknown;
  #aborted = false;

  constructor(
    readonly first: Entry<Input> | undefined,
    readonly reason: DispatchReason,
    readonly leftAt: number,
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
    if (this.#aborted) this.#controller.abort(this.#abortedWith);
    return this.#controller.signal;
  }

  /** The first reason stands, as in an `AbortController`. */
  abort(reason: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#abortedWith = reason;
    this.#controller?.abort(reason);
  }

  *[Symbol.iterator](): Generator<Entry<Input>> {
    for (let entry = this.first; entry; entry = entry.next) yield entry;
  }

  get isAborted(): boolean {
    return this.#aborted;
  }

  abortIfDeserted(reason: unknown): void {
    if (this.remaining === this.uncounted) this.abort(reason);
  }
}
