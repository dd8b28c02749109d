import type { Linked } from './waiting-line.js';
import type { Ticket, Waiting } from './waiting-room.js';

/** Where an input is. */
export const enum Place {
  Nowhere,
  /** Its caller waits for room in a full queue. */
  Door,
  Room,
  Batch,
  Gone,
}

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
  place: Place = Place.Nowhere;
  ticket: Ticket<Entry<Input>> | undefined = undefined;
  /** Who else must know that it has ended: the caller's timer and signal, a drain. */
  onLeave: (() => void) | undefined = undefined;

  constructor(
    readonly input: Input,
    readonly turn: Turn,
    readonly resolve: (result: unknown) => void,
    readonly reject: (error: unknown) => void,
  ) {}
}
