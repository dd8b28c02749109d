import type { Linked } from './waiting-line.js';
import type { Ticket, Waiting } from './waiting-room.js';

/** Where an input is: at the `door`, its caller waits for room in a full queue. */
export type Place = 'nowhere' | 'door' | 'room' | 'batch' | 'gone';

/**
 * One turn of the event loop. Its inputs share one reading of the clock, and one object instead of a number each:
 * both cost as much as the rest of a submission.
 */
export class Turn {
  /** Whether a drain waits for the inputs of this turn. */
  draining = false;

  constructor(readonly at: number) {}
}

/** What an entry has beside the input, where the caller asks for more than its result, or a drain for its end. */
export class Extras<Input> {
  previous: Entry<Input> | undefined = undefined;
  /** Who else must know that it has ended: the caller's timer and signal, a drain. */
  onLeave: (() => void) | undefined = undefined;

  constructor(readonly ticket: Ticket<Entry<Input>> | undefined) {}
}

/**
 * One input and its caller. All fields are set from the beginning, so that entries share one shape; they are few,
 * because the garbage collector is the greatest part of what an input costs.
 */
export class Entry<Input> implements Waiting<Entry<Input>>, Linked<Entry<Input>> {
  next: Entry<Input> | undefined = undefined;
  place: Place = 'nowhere';
  extras: Extras<Input> | undefined = undefined;

  constructor(
    readonly input: Input,
    readonly turn: Turn,
    readonly resolve: (result: unknown) => void,
  ) {}

  /** Has `callback` called when the input has ended, after those that were there before. */
  whenGone(callback: () => void): void {
    const extras = (this.extras ??= new Extras<Input>(undefined));
    const { onLeave } = extras;
    extras.onLeave = () => {
      onLeave?.();
      callback();
    };
  }

  /**
   * By way of `resolve`: the promise's own `reject` would make everything that waits a quarter larger.
   */
  reject(error: unknown): void {
    this.resolve({
      then: (_: unknown, reject: (error: unknown) => void) => {
        reject(error);
      },
    });
  }
}
