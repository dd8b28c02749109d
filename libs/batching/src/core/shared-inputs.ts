import { Entry, Extras, type Holder, Rejection } from './entry.js';
import type { Joined, Ledger } from './ledger.js';
import type { DropReason } from './stats.js';
import { WaitingLine } from './waiting/waiting-line.js';

type GiveUp<Input> = (entry: Entry<Input>, reason: DropReason, error: unknown) => void;

/**
 * The inputs of a queue with `coalesce`, by key: each from the submission of its first caller until it ends.
 *
 * One entry, which has no caller, waits and runs in the usual way. The callers have entries of their own, in a line:
 *
 *     SharedInput ─┬─ entry    at the door, in the room or in a batch
 *                  └─ callers  caller ── caller ── caller
 *
 * The ledger counts that entry like any other, for the first of the callers. The others have joined: they are
 * counted when they join and when they end. How many of them wait or run is computed from the place of the entry.
 */
export class SharedInputs<Input> {
  readonly #byKey = new Map<unknown, SharedInput<Input>>();

  /** @param giveUp called with the entry of an input when its last caller gives up */
  constructor(
    private readonly ledger: Ledger,
    private readonly giveUp: GiveUp<Input>,
  ) {}

  /** The input with this key, if one waits or runs. */
  get(key: unknown): SharedInput<Input> | undefined {
    return this.#byKey.get(key);
  }

  /** Creates a shared input with its first caller. */
  open(key: unknown, caller: Entry<Input>): SharedInput<Input> {
    const onEnd = (): void => void this.#byKey.delete(key);
    const input = new SharedInput(caller, this.ledger, this.giveUp, onEnd);
    this.#byKey.set(key, input);
    return input;
  }

  /** Number of callers beyond the first of each input, by phase. For `stats()`: takes O(n) for n inputs. */
  get joined(): Joined {
    const joined = { blocked: 0, waiting: 0, running: 0 };
    for (const { phase, callers } of this.#byKey.values()) joined[phase] += callers.length - 1;
    return joined;
  }
}

/** One input and the callers that wait for its result. */
export class SharedInput<Input> implements Holder<Input> {
  readonly callers = new WaitingLine<Entry<Input>>();
  readonly entry: Entry<Input>;

  constructor(
    first: Entry<Input>,
    private readonly ledger: Ledger,
    private readonly giveUpEntry: GiveUp<Input>,
    private readonly onEnd: () => void,
  ) {
    this.entry = new Entry(first.input, first.turn, this.#settle);
    this.entry.extras = first.extras;
    // The caller gets new extras for its links in the line of callers; the entry has those with ticket and
    // key.
    first.extras = new Extras(undefined);
    this.#add(first);
  }

  get phase(): keyof Joined {
    const { place } = this.entry;
    if (typeof place !== 'string') return 'running';
    return place === 'door' ? 'blocked' : 'waiting';
  }

  join(caller: Entry<Input>): void {
    this.ledger.join();
    this.#add(caller);
  }

  /** Rejects one caller; with the last one the input is given up. */
  giveUp(caller: Entry<Input>, reason: DropReason, error: unknown): void {
    // The callers are being settled already.
    if (this.entry.place === 'gone') return;
    if (this.callers.length === 1) {
      this.giveUpEntry(this.entry, reason, error);
      return;
    }
    this.callers.remove(caller);
    if (this.phase !== 'running') {
      this.ledger.drop(reason);
    } else {
      this.ledger.endJoined(1, false);
      if (reason === 'aborted') this.ledger.abortedWhileRunning++;
    }
    caller.end();
    caller.reject(error);
  }

  #add(caller: Entry<Input>): void {
    caller.place = this;
    caller.turn.epoch.pending++;
    this.callers.push(caller);
  }

  /** Settles all callers. The ledger has counted the entry before. */
  readonly #settle = (outcome: unknown): void => {
    this.onEnd();
    this.ledger.endJoined(this.callers.length - 1, !(outcome instanceof Rejection));
    for (let caller = this.callers.first; caller; caller = this.callers.first) {
      this.callers.remove(caller);
      caller.end();
      caller.resolve(outcome);
    }
  };
}
