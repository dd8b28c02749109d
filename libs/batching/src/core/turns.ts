import { AsyncResource } from 'node:async_hooks';
import { Alarm } from './alarm.js';
import { type Clock, mayLoseImmediates } from './clock.js';
import type { Drains, Epoch } from './drains.js';

/**
 * One turn of the event loop. The inputs submitted in it share one reading of the clock, and one object
 * instead of a number each: both would cost as much as the rest of a submission.
 */
export class Turn {
  /** Increases from turn to turn, even where the clock does not. */
  readonly order = ++turns;

  constructor(
    /** When it began, in milliseconds of the clock. Changes only when the clock is replaced, as tests do. */
    public at: number,
    readonly epoch: Epoch,
  ) {}
}

let turns = 0;

/** The context in which this library was loaded, which belongs to no request. */
const loading = new AsyncResource('nest-batching', { requireManualDestroy: true });

/**
 * Decides when the queue looks at what waits: once per turn of the event loop in which something happened,
 * and when the alarm rings. At most one immediate and one alarm are pending.
 *
 * The look is in the check phase, after the poll phase has read the sockets, so that requests which have
 * already arrived share a batch. An immediate that is set in the check phase runs in the next one, so a poll
 * phase comes between, also after a batch function that blocked the event loop.
 */
export class Turns {
  /** When the last look began, just after the poll phase. */
  polledAt = -Infinity;

  /** The current turn, if an input was submitted in it. */
  #turn: Turn | undefined;
  #immediate: unknown;
  /** The function that set the pending immediate: fake timers may have replaced it since. */
  #immediateSetBy: Clock['setImmediate'] | undefined;
  #immediateSetAt = -Infinity;
  /** Whether the pending immediate may be discarded. */
  #mayBeLost = false;
  /** Calls of `#checkImmediate` since it was set. */
  #checks = 0;
  /** Waiting for the next look. */
  readonly #awaiting: (() => void)[] = [];
  /** The clock's `setTimeout` at the last look; another one means another clock. */
  #timersSetBy: Clock['setTimeout'];

  readonly #alarm: Alarm;
  /** Deadline of the last alarm that rang; Node may ring it up to 1 ms early. */
  #rangFor = -Infinity;

  /**
   * Batch functions run in this context, never in that of a caller or of the code that built the queue: the
   * store of a request that builds a queue must not be visible in later requests.
   */
  readonly #context = loading.runInAsyncScope(() => new AsyncResource('BatchQueue'));

  /**
   * @param look called once per turn, with the present moment
   * @param changeClock called before `look` when the clock was replaced or set back, as tests do: moments
   *   read before are not comparable
   */
  constructor(
    private readonly clock: Clock,
    private readonly drains: Drains,
    private readonly look: (now: number) => void,
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

  /** Makes sure that a look follows in this turn. @returns the turn, for an input that is submitted now */
  begin(): Turn {
    if (this.#immediateSetBy !== this.clock.setImmediate) this.#setImmediate();
    else if (this.#mayBeLost) this.#checkImmediate();
    return (this.#turn ??= new Turn(this.clock.now(), this.drains.current));
  }

  /** Resolves after the next look. */
  nextLook(): Promise<void> {
    this.begin();
    return new Promise((resolve) => this.#awaiting.push(resolve));
  }

  /** Inputs submitted from now on belong to a new turn. */
  close(): void {
    this.#turn = undefined;
  }

  /** Looks again at the moment `at`, or earlier. */
  wakeAt(at: number, now: number): void {
    // An earlier alarm stays: a spurious wake-up is cheaper than resetting the timer for every input.
    if (this.#alarm.at > at || this.#alarm.isOverdue(now)) this.#alarm.set(at, now);
  }

  clearAlarm(): void {
    this.#alarm.clear();
  }

  /** Moments up to the returned one count as reached: `now`, or the deadline of an alarm that rang early. */
  reached(now: number): number {
    return Math.max(now, this.#rangFor);
  }

  /**
   * Sets the immediate again if it is overdue: fake timers that are installed, removed or reset discard what
   * is pending, and the queue would wait for ever. Reading the clock is slow, and a program may have wrapped
   * Node's own functions, so only the 1st, 2nd, 4th, 8th … call in a turn reads it.
   */
  #checkImmediate(): void {
    const checks = ++this.#checks;
    if ((checks & (checks - 1)) !== 0) return;
    if (Math.abs(this.clock.now() - this.#immediateSetAt) > OVERDUE) this.#setImmediate();
  }

  #setImmediate(): void {
    const { setImmediate, clearImmediate } = this.clock;
    // An immediate of another clock stays: a spurious look does no harm.
    if (this.#immediateSetBy === setImmediate) clearImmediate(this.#immediate);
    this.#immediate = setImmediate(this.#end);
    this.#immediateSetBy = setImmediate;
    this.#immediateSetAt = this.clock.now();
    this.#mayBeLost = mayLoseImmediates(setImmediate);
    this.#checks = 0;
    this.#turn = new Turn(this.#immediateSetAt, this.drains.current);
  }

  readonly #end = (): void => {
    this.#turn = this.#immediate = this.#immediateSetBy = undefined;
    const now = this.clock.now();
    if (this.#timersSetBy !== this.clock.setTimeout || now < this.polledAt) {
      this.#timersSetBy = this.clock.setTimeout;
      this.#rangFor = -Infinity;
      this.#alarm.clear();
      this.changeClock(now);
    }
    this.polledAt = now;
    this.#context.runInAsyncScope(this.look, undefined, now);
    // Splicing an empty array is slow.
    if (this.#awaiting.length > 0) for (const resolve of this.#awaiting.splice(0)) resolve();
  };
}

/**
 * Milliseconds after which an immediate counts as lost. One that is only late, in a blocked event loop, is
 * set again too.
 */
const OVERDUE = 5;
