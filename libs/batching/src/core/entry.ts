import type { Epoch } from './drains.js';
import type { Linked } from './waiting-line.js';
import type { Ticket, Waiting } from './waiting-room.js';

/** Where an input is: at the `door`, its caller waits for room in a full queue; once it runs, its batch. */
export type Place = 'nowhere' | 'door' | 'room' | 'gone' | Run;

/** A batch, as its entries know it. */
export interface Run {
  /** Aborts the batch if none of its callers still waits for a result. */
  abortIfDeserted(reason: unknown): void;
  /** Its callers that have not got their end. */
  remaining: number;
}

/**
 * One turn of the event loop. Its inputs share one reading of the clock, and one object instead of a number each:
 * both cost as much as the rest of a submission.
 */
export class Turn {
  /** Grows from turn to turn, though the clock may not. */
  readonly order = ++turns;

  constructor(
    /** When it began. Changes only with the clock itself, when a fake one comes or goes, as in a test. */
    public at: number,
    readonly epoch: Epoch,
  ) {}
}

let turns = 0;

/** What an entry has beside the input, where the caller asks for more than its result. */
export class Extras<Input> {
  previous: Entry<Input> | undefined = undefined;
  /** Clears the caller's timer and listener when the input has ended. */
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
    public turn: Turn,
    readonly resolve: (result: unknown) => void,
  ) {}

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
