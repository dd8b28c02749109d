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
import { markAborted, markRunning } from './events.js';
import { invariant } from './invariant.js';
import type { Joined, Ledger } from './ledger.js';
import {
  checkSubmitOptions,
  type InternalSubmitOptions,
  type ResolvedOptions,
  type SubmitOptions,
} from './options.js';
import { type SharedInput, SharedInputs } from './shared-inputs.js';
import type { DropReason } from './stats.js';
import { ignoreRejection, isThenable } from './thenable.js';
import type { Turn, Turns } from './turns.js';
import { apartFrom } from './waiting/apart.js';
import type { Group, Ticket } from './waiting/group.js';
import { WaitingLine } from './waiting/waiting-line.js';
import { WaitingRoom } from './waiting/waiting-room.js';

/** The parts of the queue that admission uses. */
interface Surroundings {
  readonly clock: Clock;
  readonly turns: Turns;
  readonly ledger: Ledger;
  readonly serviceTime: ServiceTime;
  readonly running: Backlog['running'];
  /** Called when an input was dropped and none is left waiting. */
  readonly onEmpty: () => void;
}

/**
 * Which inputs are taken in, and which are dropped without having run: bounds, deadlines, signals, timeouts.
 *
 * An input goes into the room, or, while the room is full and `onFull` is `'wait'`, first to the door and
 * from there into the room. A batch takes it out of the room. It may be dropped at any of these places. No
 * other part of the queue writes `Entry.place` before the entry runs.
 */
export class Admission<Input> {
  /** Inputs that wait for a batch. */
  readonly room: WaitingRoom<Entry<Input>>;
  /** Inputs whose callers wait until the room has space for them. */
  readonly #door = new WaitingLine<Entry<Input>>();
  /** With `coalesce`: all that waits and runs. */
  readonly #shared: SharedInputs<Input> | undefined;
  /** Whether inputs have neither a key, a cost nor a group. */
  readonly #takesAsIs: boolean;
  #isClosed = false;

  constructor(
    private readonly options: ResolvedOptions<Input>,
    private readonly queue: Surroundings,
  ) {
    this.room = new WaitingRoom(options.aging);
    this.#takesAsIs = !options.cost && !options.groupBy && !options.keyBy;
    const giveUp = this.#giveUp.bind(this);
    this.#shared = options.coalesce ? new SharedInputs(queue.ledger, giveUp) : undefined;
  }

  /** Number of inputs at the door. */
  get blocked(): number {
    return this.#door.length;
  }

  /** Callers that joined another's input. */
  get joined(): Joined {
    return this.#shared?.joined ?? NONE_JOINED;
  }

  /** Whether the room accepts no more inputs, so that a partial batch cannot grow. */
  get #acceptsNoMore(): boolean {
    const { maxQueued, maxQueuedCost } = this.options;
    return this.room.length >= maxQueued || this.room.cost >= maxQueuedCost || this.#door.length > 0;
  }

  /** Puts the input into the room or at the door, or rejects its promise. Never throws. */
  admit(entry: Entry<Input>, options: SubmitOptions | undefined): void {
    // The hot path: no options, no key, cost or group, and space in the room.
    if (!options && this.#takesAsIs && !this.#isClosed && this.room.length < this.options.maxQueued) {
      this.#enter(entry);
      return;
    }
    try {
      this.#place(entry, options);
    } catch (error) {
      // Invalid options, or an error thrown by an option's getter, `keyBy`, `cost` or `groupBy`.
      entry.reject(error);
    }
  }

  /**
   * Whether the inputs are to be refused as a whole, because more than `maxQueued` can never wait together.
   * Decided by their `length` or `size`, without iterating over them.
   */
  seemTooMany(inputs: unknown, options: SubmitOptions | undefined): boolean {
    const { maxQueued, onFull } = this.options;
    return !this.#isClosed && onFull === 'reject' && sizeOf(inputs) > maxQueued && !options?.signal?.aborted;
  }

  /**
   * @returns the error for all inputs; `undefined` if there are no more than `maxQueued`: a `size` may be
   *   wrong
   */
  refuseTooMany({ length }: readonly Input[]): TooManyInputsError | undefined {
    const { name, maxQueued } = this.options;
    if (length <= maxQueued) return undefined;
    this.queue.ledger.refuse('full', length);
    return new TooManyInputsError(name, length, maxQueued);
  }

  /** Inputs submitted from now on are refused. */
  close(): void {
    this.#isClosed = true;
  }

  /** Moves inputs from the door into the room while it has space. */
  letIn(): void {
    for (let entry = this.#door.first; entry && this.#hasRoom(entry); entry = this.#door.first) {
      this.#door.remove(entry);
      this.#enter(entry);
    }
  }

  /**
   * The group of the next batch, and the turn in which its oldest input was submitted; `undefined` if none
   * waits.
   */
  next(): { group: Group<Entry<Input>>; isFull: boolean; oldest: Turn } | undefined {
    const { batchSize, maxCost } = this.options;
    const group = this.room.next(batchSize, maxCost);
    if (!group) return undefined;
    const { oldest } = group;
    invariant(oldest !== undefined, 'a group without inputs is the next to leave');
    return {
      group,
      isFull: this.#acceptsNoMore || group.fillsBatch(batchSize, maxCost),
      oldest: oldest.turn,
    };
  }

  /**
   * Takes the next batch of the group out of the room. @returns its first entry; the others are linked by
   * `next`
   */
  take(group: Group<Entry<Input>>): Entry<Input> {
    const { batchSize, maxCost } = this.options;
    const first = this.room.take(group, batchSize, maxCost);
    invariant(first !== undefined, 'a batch leaves without inputs');
    return first;
  }

  /** Drops all inputs that wait, at the door too. */
  dropAll(): void {
    const drop = (entry: Entry<Input>): void => {
      // Each caller counts; the input leaves with the last.
      for (const caller of [...this.callersOf(entry)]) {
        this.#giveUp(caller, 'stopped', new ServiceStoppedError(this.options.name, 'dropped this input'));
      }
    };
    // The door first: each drop from the room would let an input in.
    for (let entry = this.#door.first; entry; entry = this.#door.first) drop(entry);
    for (const entry of [...this.room]) drop(entry);
  }

  /** After a change of the clock: limits all times of submission to `now`, so that no wait is negative. */
  changeClock(now: number): void {
    for (const { turn } of this.room) turn.at = Math.min(turn.at, now);
    for (let entry = this.#door.first; entry; entry = entry.next)
      entry.turn.at = Math.min(entry.turn.at, now);
  }

  #place(entry: Entry<Input>, options: InternalSubmitOptions | undefined): void {
    const { name, maxQueued, onFull } = this.options;
    const { turns, serviceTime, clock } = this.queue;
    // Each is read once: a getter may return another value the second time.
    const { signal, timeout = Infinity, priority = 0, tenant, apart, onLate } = options ?? NOTHING_ASKED;
    if (options) checkSubmitOptions(signal, timeout, priority);
    if (this.#isRefused(entry, signal)) return;
    const { input } = entry;
    const key = this.#askKey('keyBy', input);
    const isKnown = this.#shared?.get(key) !== undefined;
    const ticket = isKnown ? undefined : this.#ticket(input, priority, tenant, apart);
    // `keyBy`, `cost` and `groupBy` may have aborted the signal, or stopped or drained this queue.
    if (!this.#takesAsIs && this.#isRefused(entry, signal)) return;
    entry.turn = turns.begin();
    const isBare = !options && !ticket && !this.options.keyBy;
    if (!isBare) {
      entry.extras = new Extras<Input>(ticket, key);
      entry.extras.onLate = onLate;
    }
    // They may have submitted an input with this key, too.
    const shared = this.#shared?.get(key);
    const late = shared ? 0 : this.#lateness(timeout, priority);
    if (shared) {
      this.#join(entry, shared, priority);
    } else if (late > 0) {
      this.#drop(entry, 'timeout', new DeadlineError(name, timeout, Math.max(1, late)));
    } else if (this.#hasRoom(entry)) {
      this.#enter(this.#share(entry, key));
    } else if (onFull === 'wait') {
      const waiting = this.#share(entry, key);
      waiting.place = 'door';
      waiting.turn.epoch.pending++;
      this.#door.push(waiting);
    } else {
      const wait = expectedWait(this.#backlog(), serviceTime, clock.now());
      const retryAfter = Math.max(1, wait);
      this.#drop(entry, 'full', new QueueFullError(name, maxQueued, retryAfter, this.room.length));
    }
    const isIn = entry.place !== 'nowhere';
    if (isIn && entry.extras && (signal || timeout < Infinity)) {
      this.#watch(entry, entry.extras, signal, timeout);
    }
  }

  /** The entries of all callers of an entry: with `coalesce` there may be several. */
  callersOf(entry: Entry<Input>): Iterable<Entry<Input>> {
    return this.#shared?.get(entry.extras?.key)?.callers ?? [entry];
  }

  /** @returns the entry that waits and runs for this caller; with `coalesce` also for those that join it */
  #share(caller: Entry<Input>, key: unknown): Entry<Input> {
    return this.#shared ? this.#shared.open(key, caller).entry : caller;
  }

  /**
   * Needs no space in the room and delays no other input, so neither a bound nor a deadline refuses the
   * caller.
   */
  #join(caller: Entry<Input>, shared: SharedInput<Input>, priority: number): void {
    shared.join(caller);
    if (shared.phase === 'running') markRunning(caller);
    const { place, extras } = shared.entry;
    if (!extras || priority <= (extras.ticket?.priority ?? 0)) return;
    const ticket = { ...(extras.ticket ?? PLAIN), priority, line: undefined };
    if (place === 'room') this.room.exchange(shared.entry, ticket);
    else extras.ticket = ticket;
  }

  /**
   * Drops the input if its signal has aborted or the queue takes no more inputs. @returns whether it was
   * dropped
   */
  #isRefused(entry: Entry<Input>, signal: AbortSignal | undefined): boolean {
    if (signal?.aborted) {
      markAborted(entry);
      this.#drop(entry, 'aborted', abortReason(signal));
    } else if (this.#isClosed) {
      this.#drop(entry, 'stopped', new ServiceStoppedError(this.options.name));
    } else {
      return false;
    }
    return true;
  }

  /** Group, priority, tenant and cost of the input; `undefined` if it is plain. */
  #ticket(
    input: Input,
    priority: number,
    tenant: unknown,
    apart: InternalSubmitOptions['apart'],
  ): Ticket<Entry<Input>> | undefined {
    const { name, maxCost } = this.options;
    const isPlain = !this.options.cost && !this.options.groupBy && priority === 0 && tenant === undefined;
    if (isPlain && !apart) return undefined;
    const cost = this.options.cost ? this.options.cost(input) : 0;
    if (typeof cost !== 'number') void ignoreRejection(cost);
    if (cost === Infinity) throw new RangeError('cost: expected a finite number, got Infinity');
    if (checkCost('cost', cost) > maxCost) throw new InputCostError(name, cost, maxCost);
    const ofUser = this.#askKey('groupBy', input);
    const group = apart ? apartFrom(ofUser, apart) : ofUser;
    return { group, priority, tenant, cost, line: undefined };
  }

  #askKey(name: 'keyBy' | 'groupBy', input: Input): unknown {
    const key = this.options[name]?.(input);
    if (!isThenable(key)) return key;
    void ignoreRejection(key);
    throw new TypeError(`${name}: expected a key, got ${show(key)}; it must not be async`);
  }

  /** An empty room takes an input of any cost up to `maxCost`: it would never have more space for it. */
  #hasRoom({ extras }: Entry<Input>): boolean {
    const { maxQueued, maxQueuedCost } = this.options;
    if (this.room.length >= maxQueued) return false;
    const ticket = extras?.ticket;
    return !ticket || this.room.length === 0 || this.room.cost + ticket.cost <= maxQueuedCost;
  }

  /** Milliseconds by which the input is expected to miss its timeout; ≤ 0 if it is expected in time. */
  #lateness(timeout: number, priority: number): number {
    if (timeout === Infinity) return 0;
    return lateness(this.#backlog(priority), timeout, this.queue.serviceTime, this.queue.clock.now());
  }

  /** The work before an input of this priority that is submitted now. */
  #backlog(priority = 0): Backlog {
    const { batchSize, concurrency } = this.options;
    return { batchSize, concurrency, ahead: this.room.ahead(priority), running: this.queue.running };
  }

  #enter(entry: Entry<Input>): void {
    // An input from the door has been counted before.
    if (entry.place === 'nowhere') entry.turn.epoch.pending++;
    this.queue.ledger.enter();
    entry.place = 'room';
    this.room.push(entry);
  }

  /** Ends the input when its signal aborts or its timeout expires, wherever it is then. */
  #watch(entry: Entry<Input>, extras: Extras<Input>, signal: AbortSignal | undefined, timeout: number): void {
    const { clock } = this.queue;
    const onTimeout = (): void => {
      const isRunning = typeof entry.place !== 'string' && entry.place.phase === 'running';
      const phase = isRunning ? 'running' : 'waiting';
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
      // A custom signal may abort inside `addEventListener`, with or without calling the listener.
      if (entry.place === 'gone') unlisten();
      else if (signal.aborted) onAborted();
    } catch (error) {
      // Without a listener the caller could not give up, so the input is refused.
      this.#giveUp(entry, 'aborted', error);
    }
  }

  #giveUp(entry: Entry<Input>, reason: DropReason, error: unknown): void {
    const { place } = entry;
    if (place === 'gone') return;
    if (reason === 'aborted') markAborted(entry);
    if (typeof place === 'string') this.#drop(entry, reason, error);
    else place.giveUp(entry, reason, error);
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

const NOTHING_ASKED: InternalSubmitOptions = {};

const NONE_JOINED: Joined = { blocked: 0, waiting: 0, running: 0 };

/** The ticket of a plain input that gets one. */
const PLAIN = { group: undefined, tenant: undefined, cost: 0 };

/** The `length` or `size` of the inputs; 0 if they have none. */
function sizeOf(inputs: unknown): number {
  const { length, size } = (inputs ?? {}) as { length?: unknown; size?: unknown };
  return typeof length === 'number' ? length : typeof size === 'number' ? size : 0;
}
