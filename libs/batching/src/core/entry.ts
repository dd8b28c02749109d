import type { Turn } from './turns.js';
import type { Linked } from './waiting/waiting-line.js';
import type { Ticket, Waiting } from './waiting/group.js';

/** Where an input is: at the `door`, its caller waits for room in a full queue; once it runs, its batch. */
export type Place<Input> = 'nowhere' | 'door' | 'room' | 'gone' | Running<Input>;

/** The batch that an entry runs in. */
export interface Running<Input> {
  giveUp(entry: Entry<Input>, error: unknown): void;
}

/** What an entry has beside the input, where the caller asks for more than its result. */
export class Extras<Input> {
  previous: Entry<Input> | undefined = undefined;
  /** Clears the caller's timer and listener. */
  onEnd: (() => void) | undefined = undefined;

  constructor(readonly ticket: Ticket<Entry<Input>> | undefined) {}
}

/**
 * One input and its caller. All fields are set from the beginning, so that entries share one shape; they are few,
 * because the garbage collector is the greatest part of what an input costs.
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

  /** The end of every input, whatever its outcome; its promise is settled next. */
  end(): void {
    this.place = 'gone';
    this.extras?.onEnd?.();
    this.turn.epoch.end();
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

/** What `takeResolver` took last. */
export let takenResolver: (result: unknown) => void;

/** One executor for all promises: a closure per input would cost more than the queue's own work on it. */
export function takeResolver(resolve: (result: unknown) => void): void {
  takenResolver = resolve;
}
