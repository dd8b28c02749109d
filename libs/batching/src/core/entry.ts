import type { Turn } from './turns.js';
import type { Linked } from './waiting/waiting-line.js';
import type { Ticket, Waiting } from './waiting/group.js';

/**
 * Where an input is: at the `door` of a full queue, in the waiting `room`, or in the batch that it runs in.
 */
export type Place<Input> = 'nowhere' | 'door' | 'room' | 'gone' | Running<Input>;

/** The batch that an entry runs in. */
export interface Running<Input> {
  giveUp(entry: Entry<Input>, error: unknown): void;
}

/** What only some entries need: those with options, a cost or a group. */
export class Extras<Input> {
  previous: Entry<Input> | undefined = undefined;
  /** Clears the timer of its timeout and the listener of its signal. */
  onEnd: (() => void) | undefined = undefined;

  constructor(readonly ticket: Ticket<Entry<Input>> | undefined) {}
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
    this.resolve({
      then: (_: unknown, reject: (error: unknown) => void) => {
        reject(error);
      },
    });
  }
}

/** The `resolve` of the promise made last with `takeResolver`. */
export let takenResolver: (result: unknown) => void;

/** The executor of all promises: a closure per input would cost more than the queue's own work on it. */
export function takeResolver(resolve: (result: unknown) => void): void {
  takenResolver = resolve;
}
