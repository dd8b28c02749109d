import type { DropReason } from './stats.js';
import type { Turn } from './turns.js';
import type { Linked } from './waiting/waiting-line.js';
import type { Ticket, Waiting } from './waiting/group.js';

/**
 * Where an input is: at the `door` of a full queue, in the waiting `room`, or in the batch that it runs in. A
 * caller that shares its input with others (`coalesce`) is in the shared input.
 */
export type Place<Input> = 'nowhere' | 'door' | 'room' | 'gone' | Holder<Input>;

/** The batch that an entry runs in, or the input that a caller shares. */
export interface Holder<Input> {
  readonly phase: 'blocked' | 'waiting' | 'running';
  giveUp(entry: Entry<Input>, reason: DropReason, error: unknown): void;
}

/** What only some entries need: those with options, a key, a cost or a group. */
export class Extras<Input> {
  previous: Entry<Input> | undefined = undefined;
  /** Clears the timer of its timeout and the listener of its signal. */
  onEnd: (() => void) | undefined = undefined;
  /** Takes a result that comes when the caller has given up. May not throw. */
  onLate: ((result: unknown) => void) | undefined = undefined;

  constructor(
    /** `undefined` if the input is plain. */
    public ticket: Ticket<Entry<Input>> | undefined,
    /** What `keyBy` returned. */
    readonly key?: unknown,
  ) {}
}

/**
 * One input and its caller. All fields are set by the constructor, so that entries share one hidden class.
 * They are few, because garbage collection is the largest part of what an input costs.
 */
export class Entry<Input> implements Waiting<Entry<Input>>, Linked<Entry<Input>> {
  next: Entry<Input> | undefined = undefined;
  place: Place<Input> = 'nowhere';
  extras: Extras<Input> | undefined = undefined;

  constructor(
    readonly input: Input,
    public turn: Turn,
    readonly resolve: (result: unknown) => void,
  ) {}

  /** Ends the input, whatever its outcome; the caller of this method settles its promise next. */
  end(): void {
    this.place = 'gone';
    this.extras?.onEnd?.();
    this.turn.epoch.end();
  }

  /**
   * Rejects through `resolve`, with a thenable: keeping the promise's own `reject` would make an entry a
   * quarter larger.
   */
  reject(error: unknown): void {
    this.resolve(new Rejection(error));
  }
}

export function isRejection(outcome: unknown): outcome is Rejection {
  return outcome instanceof Rejection;
}

/** A thenable that rejects; a class of its own, to recognise an entry that ended in an error. */
export class Rejection {
  constructor(readonly error: unknown) {}

  then(_: unknown, reject: (error: unknown) => void): void {
    reject(this.error);
  }
}
