import { AsyncResource } from 'node:async_hooks';
import { Alarm } from './alarm.js';
import type { Clock } from './clock.js';
import type { Drains, Epoch } from './drains.js';

/**
 * One turn of the event loop. Its inputs share one reading of the clock, and one object instead of a number each:
 * both cost as much as the rest of a submission.
 */
export class Turn {
  /** Grows from turn to turn, though the clock may not. */
  readonly order = ++turns;

  constructor(
    /** When it began. Changes only when another clock comes, as in a test. */
    public at: number,
    readonly epoch: Epoch,
  ) {}
}

let turns = 0;

/**
 * When the queue looks at what waits: once per turn of the event loop in which something happened, and when the alarm
 * rings. At most one immediate and one alarm are pending.
 *
 * The look comes in the check phase, after the poll phase has read the sockets, so that requests which are already there
 * travel together. An immediate that is set in the check phase waits for the next one: after a batch function that blocked
 * the loop, a poll phase passes first.
 */
export class Turns {
  /** When the last look began. The sockets had just been read. */
  polledAt = -Infinity;

  /** The present turn, if an input came in it. */
  #turn: Turn | undefined;
  #immediate: unknown;
  /** The function that the pending immediate was set through: not always the present one, as tests replace it. */
  #immediateSetBy: Clock['setImmediate'] | undefined;
  #immediateSetAt = -Infinity;
  /** Calls of `begin` since the last look. */
  #begun = 0;
  #timersSetBy: Clock['setTimeout'];

  readonly #alarm: Alarm;
  /** Deadline of the last alarm that rang; Node may ring up to 1 ms before it. */
  #rangFor = -Infinity;

  /** Made here, so that batch functions run in the context that built the queue and never in that of a caller. */
  readonly #context = new AsyncResource('BatchQueue', { requireManualDestroy: true });

  /**
   * @param look called once per turn, with the moment and that of the look before: what has come, came since then
   * @param changeClock called before `look` when another clock has come, or this one was wound back, as in a test: moments
   *   of before mean nothing to it
   */
  constructor(
    private readonly clock: Clock,
    private readonly drains: Drains,
    private readonly look: (now: number, since: number) => void,
    private readonly changeClock: (now: number) => void,
  ) {
    this.#timersSetBy = clock.setTimeout;
    this.#alarm = new Alarm(
      clock,
      (at) => {
        this.#rangFor = at;
        this.begin();
      },
      true,
    );
  }

  /** Makes sure that a look follows in this turn. */
  begin(): Turn {
    const begun = ++this.#begun;
    if (this.#immediateSetBy !== this.clock.setImmediate) this.#setImmediate();
    else if ((begun & (begun - 1)) === 0) this.#checkImmediate();
    return (this.#turn ??= new Turn(this.clock.now(), this.drains.current));
  }

  /** Inputs that come from here on belong to another turn. */
  close(): void {
    this.#turn = undefined;
  }

  /** Looks again at that moment, or somewhat before. */
  wakeAt(at: number, now: number): void {
    // A spurious wake-up is cheaper than setting the timer anew for every input.
    if (this.#alarm.at > at || this.#alarm.isOverdue(now)) this.#alarm.set(at, now);
  }

  clearAlarm(): void {
    this.#alarm.clear();
  }

  /** Moments up to this one count as reached. */
  reached(now: number): number {
    return Math.max(now, this.#rangFor);
  }

  /**
   * A fake clock (of a test) that comes or goes, or is wound back, takes along what is pending, and the queue would wait
   * for ever. As it costs to read the clock, that is done at the 1st, 2nd, 4th, 8th … call of `begin` in a turn.
   */
  #checkImmediate(): void {
    if (Math.abs(this.clock.now() - this.#immediateSetAt) > OVERDUE) this.#setImmediate();
  }

  #setImmediate(): void {
    const { setImmediate, clearImmediate } = this.clock;
    // That of another clock is left alone: a spurious look does no harm.
    if (this.#immediateSetBy === setImmediate) clearImmediate(this.#immediate);
    this.#immediate = setImmediate(this.#end);
    this.#immediateSetBy = setImmediate;
    this.#immediateSetAt = this.clock.now();
    this.#begun = 1;
    this.#turn = new Turn(this.#immediateSetAt, this.drains.current);
  }

  readonly #end = (): void => {
    this.#turn = this.#immediate = this.#immediateSetBy = undefined;
    this.#begun = 0;
    const now = this.clock.now();
    if (this.#timersSetBy !== this.clock.setTimeout || now < this.polledAt) {
      this.#timersSetBy = this.clock.setTimeout;
      this.#rangFor = -Infinity;
      this.#alarm.clear();
      this.changeClock(now);
    }
    const since = this.polledAt;
    this.polledAt = now;
    this.#context.runInAsyncScope(this.look, undefined, now, since);
  };
}

/** Milliseconds after which an immediate has been lost. One that is only late, as the loop is blocked, is set anew. */
const OVERDUE = 5;
