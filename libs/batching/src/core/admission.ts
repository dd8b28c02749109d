import { abortReason, onAbort } from './abort-listener.js';
import { checkCost, show } from './checks.js';
import { type Clock, LONGEST_TIMER } from './clock.js';
import { type Backlog, expectedWait, lateness } from './dispatch/forecast.js';
import type { ServiceTime } from './dispatch/service-time.js';
import { type Entry, Extras } from './entry.js';
import {
  BatchTimeoutError,
  DeadlineError,
  InputCostError,
  QueueFullError,
  ServiceStoppedError,
  TooManyInputsError,
} from './errors.js';
import type { Ledger } from './ledger.js';
import { checkSubmitOptions, type ResolvedOptions, type SubmitOptions } from './options.js';
import type { DropReason } from './stats.js';
import { ignoreRejection, isThenable } from './thenable.js';
import type { Turn, Turns } from './turns.js';
import type { Group, Ticket } from './waiting/group.js';
import { WaitingLine } from './waiting/waiting-line.js';
import { WaitingRoom } from './waiting/waiting-room.js';

/** What admission works with, of the queue that it belongs to. */
interface Surroundings {
  readonly clock: Clock;
  readonly turns: Turns;
  readonly ledger: Ledger;
  readonly serviceTime: ServiceTime;
  readonly running: Backlog['running'];
  /** Called when an input was dropped, and nothing waits any more. */
  readonly onEmpty: () => void;
}

/**
 * Who comes in, and who leaves again without having run: bounds, deadlines, signals, timeouts.
 *
 * An input goes from nowhere into the room, or to the door while the room is full (`onFull: 'wait'`) and from there into
 * the room; a batch takes it out of the room; from each of these places it may be dropped. No other part of the queue
 * writes an entry's place before it runs.
 */
export class Admission<Input> {
  /** Inputs taken in. Beyond `maxQueued`, callers that may wait for room stand at the door. */
  readonly room: WaitingRoom<Entry<Input>>;
  readonly #door = new WaitingLine<Entry<Input>>();
  /** Whether inputs have neither a cost nor a group. */
  readonly #takesPlain: boolean;
  #isClosed = false;

  constructor(
    private readonly options: ResolvedOptions<Input>,
    private readonly queue: Surroundings,
  ) {
    this.room = new WaitingRoom(options.aging);
    this.#takesPlain = !options.cost && !options.groupBy;
  }

  /** Callers at the door. */
  get blocked(): number {
    return this.#door.length;
  }

  /** Whether no more inputs can come in, so that a batch that is not full cannot grow. */
  get #isFull(): boolean {
    const { maxQueued, maxQueuedCost } = this.options;
    return this.room.length >= maxQueued || this.room.cost >= maxQueuedCost || this.#door.length > 0;
  }

  /** Takes the input in, lets its caller wait at the door, or rejects its promise; never throws. */
  admit(entry: Entry<Input>, options: SubmitOptions | undefined): void {
    // The usual case first: an input that asks for nothing, and a queue that has a place for it.
    if (!options && this.#takesPlain && !this.#isClosed && this.room.length < this.options.maxQueued) {
      this.#enter(entry);
      return;
    }
    try {
      this.#place(entry, options);
    } catch (error) {
      // Bad options, or what their getters and the functions for cost and group threw.
      entry.reject(error);
    }
  }

  /**
   * Whether these inputs could never wait together, and shall be refused as a whole: so far as their number can be known
   * without running through them.
   */
  seemTooMany(inputs: unknown, options: SubmitOptions | undefined): boolean {
    const { maxQueued, onFull } = this.options;
    return !this.#isClosed && onFull === 'reject' && sizeOf(inputs) > maxQueued && !options?.signal?.aborted;
  }

  /** @returns the error of all of them; `undefined` if there are not that many, as a `size` need not be true */
  refuseTooMany({ length }: readonly Input[]): TooManyInputsError | undefined {
    const { name, maxQueued } = this.options;
    if (length <= maxQueued) return undefined;
    this.queue.ledger.refuse('full', length);
    return new TooManyInputsError(name, length, maxQueued);
  }

  /** From here on no input is taken in. */
  close(): void {
    this.#isClosed = true;
  }

  /** Lets callers in that wait at the door, while there is room. */
  letIn(): void {
    for (let entry = this.#door.first; entry && this.#hasRoom(entry); entry = this.#door.first) {
      this.#door.remove(entry);
      this.#enter(entry);
    }
  }

  /** What may travel next, and the turn in which its oldest input came; `undefined` if nothing waits. */
  next(): { group: Group<Entry<Input>>; isFull: boolean; oldest: Turn } | undefined {
    const { batchSize, maxCost } = this.options;
    const group = this.room.next(batchSize, maxCost);
    const oldest = group?.oldest?.turn;
    if (!group || !oldest) return undefined;
    return { group, isFull: this.#isFull || group.isFull(batchSize, maxCost), oldest };
  }

  /** @returns the first entry of a batch of the group, a chain linked by `next` */
  take(group: Group<Entry<Input>>): Entry<Input> | undefined {
    const { batchSize, maxCost } = this.options;
    return this.room.take(group, batchSize, maxCost);
  }

  /** Drops everything that waits. */
  dropAll(): void {
    const drop = (entry: Entry<Input>): void => {
      this.#drop(entry, 'stopped', new ServiceStoppedError(this.options.name, 'dropped this input'));
    };
    // The door first, or it would refill the room.
    for (let entry = this.#door.first; entry; entry = this.#door.first) drop(entry);
    for (const entry of [...this.room]) drop(entry);
  }

  /** Nothing that waits has come later than `now`, by a clock that has just come. */
  changeClock(now: number): void {
    for (const { turn } of this.room) turn.at = Math.min(turn.at, now);
    for (let entry = this.#door.first; entry; entry = entry.next)
      entry.turn.at = Math.min(entry.turn.at, now);
  }

  #place(entry: Entry<Input>, options: SubmitOptions | undefined): void {
    const { name, maxQueued, onFull } = this.options;
    const { turns, serviceTime, clock } = this.queue;
    // Each is read once, as a getter need not give the same value twice.
    const { signal, timeout = Infinity, priority = 0, tenant } = options ?? NOTHING_ASKED;
    if (options) checkSubmitOptions(signal, timeout, priority);
    if (this.#isRefused(entry, signal)) return;
    const ticket = this.#ticket(entry.input, priority, tenant);
    // The functions for cost and group may have aborted the signal, or have stopped or drained this very queue.
    if (ticket && this.#isRefused(entry, signal)) return;
    entry.turn = turns.begin();
    const extras = options || ticket ? (entry.extras = new Extras<Input>(ticket)) : undefined;
    const late = this.#lateness(timeout, priority);
    if (late > 0) {
      this.#drop(entry, 'timeout', new DeadlineError(name, timeout, Math.max(1, late)));
    } else if (this.#hasRoom(entry)) {
      this.#enter(entry);
    } else if (onFull === 'wait') {
      entry.place = 'door';
      entry.turn.epoch.pending++;
      this.#door.push(entry);
    } else {
      const wait = expectedWait(this.#backlog(), serviceTime, clock.now());
      const retryAfter = Math.max(1, wait);
      this.#drop(entry, 'full', new QueueFullError(name, maxQueued, retryAfter, this.room.length));
    }
    const isIn = entry.place !== 'nowhere';
    if (isIn && extras && (signal || timeout < Infinity)) this.#watch(entry, extras, signal, timeout);
  }

  /** Whether its caller has gone or the queue takes no more inputs; then it is dropped. */
  #isRefused(entry: Entry<Input>, signal: AbortSignal | undefined): boolean {
    if (signal?.aborted) {
      this.#drop(entry, 'aborted', abortReason(signal));
    } else if (this.#isClosed) {
      this.#drop(entry, 'stopped', new ServiceStoppedError(this.options.name));
    } else {
      return false;
    }
    return true;
  }

  /** Where the input stands, unless it is plain. */
  #ticket(input: Input, priority: number, tenant: unknown): Ticket<Entry<Input>> | undefined {
    if (this.#takesPlain && priority === 0 && tenant === undefined) return undefined;
    const { name, maxCost } = this.options;
    const cost = this.options.cost ? this.options.cost(input) : 0;
    if (typeof cost !== 'number') void ignoreRejection(cost);
    if (cost === Infinity) throw new RangeError('cost: expected a finite number, got Infinity');
    if (checkCost('cost', cost) > maxCost) throw new InputCostError(name, cost, maxCost);
    const group = this.options.groupBy?.(input);
    if (isThenable(group)) {
      void ignoreRejection(group);
      throw new TypeError(`groupBy: expected a key, got ${show(group)}; it must not be async`);
    }
    return { group, priority, tenant, cost, line: undefined };
  }

  /** A queue that is empty takes an input of any cost: there would never be more room for it. */
  #hasRoom({ extras }: Entry<Input>): boolean {
    const { maxQueued, maxQueuedCost } = this.options;
    if (this.room.length >= maxQueued) return false;
    const ticket = extras?.ticket;
    return !ticket || this.room.length === 0 || this.room.cost + ticket.cost <= maxQueuedCost;
  }

  #lateness(timeout: number, priority: number): number {
    if (timeout === Infinity) return 0;
    return lateness(this.#backlog(priority), timeout, this.queue.serviceTime, this.queue.clock.now());
  }

  /** What stands before an input of this priority that comes now. */
  #backlog(priority = 0): Backlog {
    const { batchSize, concurrency } = this.options;
    return { batchSize, concurrency, ahead: this.room.ahead(priority), running: this.queue.running };
  }

  #enter(entry: Entry<Input>): void {
    // An input from the door is pending already.
    if (entry.place === 'nowhere') entry.turn.epoch.pending++;
    this.queue.ledger.enter();
    entry.place = 'room';
    this.room.push(entry);
  }

  /** Gives up for the caller when its signal aborts or its time is over. */
  #watch(entry: Entry<Input>, extras: Extras<Input>, signal: AbortSignal | undefined, timeout: number): void {
    const { clock } = this.queue;
    const onTimeout = (): void => {
      const phase = typeof entry.place === 'string' ? 'waiting' : 'running';
      this.#giveUp(entry, 'timeout', new BatchTimeoutError(this.options.name, timeout, phase));
    };
    const { setTimeout, clearTimeout } = clock;
    const timer = timeout <= LONGEST_TIMER ? setTimeout(onTimeout, timeout) : undefined;
    let unlisten: (() => void) | undefined;
    if (timer !== undefined || signal) {
      extras.onEnd = () => {
        if (timer !== undefined) clearTimeout(timer);
        unlisten?.();
      };
    }
    if (!signal) return;
    const onAborted = (): void => {
      this.#giveUp(entry, 'aborted', abortReason(signal));
    };
    try {
      unlisten = onAbort(signal, onAborted);
      // An odd signal may have aborted while it was given the listener, with or without calling it.
      if (entry.place === 'gone') unlisten();
      else if (signal.aborted) onAborted();
    } catch (error) {
      // A caller that cannot give up is refused.
      this.#giveUp(entry, 'aborted', error);
    }
  }

  #giveUp(entry: Entry<Input>, reason: DropReason, error: unknown): void {
    const { place } = entry;
    if (place === 'gone') return;
    if (typeof place === 'string') this.#drop(entry, reason, error);
    else place.giveUp(entry, error);
  }

  #drop(entry: Entry<Input>, reason: DropReason, error: unknown): void {
    const { place } = entry;
    const { ledger } = this.queue;
    if (place === 'room') {
      this.room.remove(entry);
      ledger.drop(reason);
    } else {
      if (place === 'door') this.#door.remove(entry);
      ledger.refuse(reason);
    }
    if (place !== 'nowhere') entry.end();
    entry.reject(error);
    this.letIn();
    if (this.room.length === 0) this.queue.onEmpty();
  }
}

/** What a caller without options asks for. */
const NOTHING_ASKED: SubmitOptions = {};

/** How many inputs there are, as far as that can be known without running through them. */
function sizeOf(inputs: unknown): number {
  const { length, size } = (inputs ?? {}) as { length?: unknown; size?: unknown };
  return typeof length === 'number' ? length : typeof size === 'number' ? size : 0;
}
