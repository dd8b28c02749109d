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

/** One input and its caller. All fields are set from the beginning, so that entries share one shape. */
export class Entry<Input> implements Waiting<Entry<Input>>, Linked<Entry<Input>> {
  next: Entry<Input> | undefined = undefined;
  previous: Entry<Input> | undefined = undefined;
  place: Place = 'nowhere';
  ticket: Ticket<Entry<Input>> | undefined = undefined;
  /** Who else must know that it has ended: the caller's timer and signal, a drain. */
  onLeave: (() => void) | undefined = undefined;

  constructor(
    readonly input: Input,
    readonly turn: Turn,
    readonly resolve: (result: unknown) => void,
  ) {}

  /**
   * By way of `resolve`: the promise's own `reject` would make everything that waits a quarter larger, and the garbage
   * collector is the greatest part of what an input costs.
   */
  reject(error: unknown): void {
    this.resolve({
      then: (_: unknown, reject: (error: unknown) => void) => {
        reject(error);
      },
    });
  }
}
