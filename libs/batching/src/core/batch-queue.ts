import { AsyncResource } from 'node:async_hooks';
import { types } from 'node:util';
import { abortReason, onAbort } from './abort-listener.js';
import { Alarm } from './alarm.js';
import { Batch } from './batch.js';
import { createPolicy, type DispatchPolicy, type DispatchReason } from './dispatch-policy.js';
import { RecentDistribution } from './distribution.js';
import { Drains } from './drains.js';
import { Entry, Extras, Turn } from './entry.js';
import {
  BatchResultError,
  BatchTimeoutError,
  DeadlineError,
  InputCostError,
  QueueFullError,
  ServiceStoppedError,
  TooManyInputsError,
} from './errors.js';
import { type Backlog, expectedWait, lateness, untilSlot } from './forecast.js';
import {
  type BatchFunction,
  type BatchOptions,
  checkBatchSize,
  checkConcurrency,
  checkCost,
  checkMaxQueued,
  checkMilliseconds,
  checkSubmitOptions,
  functionName,
  LONGEST_TIMER,
  type ResolvedOptions,
  resolveOptions,
  show,
  showThrown,
  type StopOptions,
  type SubmitOptions,
} from './options.js';
import { Progress } from './progress.js';
import { ServiceTime } from './service-time.js';
import type { BatchReport, DropReason, QueueState, QueueStats } from './stats.js';
import { WaitingLine } from './waiting-line.js';
import { type Group, type Ticket, WaitingRoom } from './waiting-room.js';

/**
 * Takes inputs one at a time, runs them through the batch function in batches, and gives every caller its own result.
 *
 * Invariants, at any moment between two calls:
 * - submitted = settled + dropped + waiting + running; every input ends exactly once.
 * - A batch holds at most `batchSize` inputs of one group, which cost at most `maxCost`, in the order of arrival within
 *   a priority and a tenant; it is closed when it leaves, not before.
 * - With a free slot an input waits at most `maxDelay` from its submission, plus the lag of the timer and one turn
 *   of the event loop. With all slots busy it waits for a slot.
 * - At most one immediate is pending, and at most one alarm, which is off when nothing waits.
 *
 * An input's way: `submit` takes it in → `#pump` decides → `#run` calls the batch function → `#settle`.
 */
export class BatchQueue<Input, Result> {
  readonly #batchFunction: BatchFunction<Input, Result>;
  readonly #options: ResolvedOptions<Input>;
  readonly #policy: DispatchPolicy;
  /** Whether inputs have neither a cost nor a group. */
  readonly #takesPlain: boolean;
  #state: QueueState = 'created';

  /** Inputs taken in. Beyond `maxQueued`, callers that may wait for room (`onFull: 'wait'`) stand at the door. */
  readonly #room: WaitingRoom<Entry<Input>>;
  readonly #door = new WaitingLine<Entry<Input>>();
  readonly #batches = new Set<Batch<Input>>();
  readonly #drains = new Drains();

  /** The present turn of the event loop, if an input came in it. */
  #turn: Turn | undefined;
  #immediate: NodeJS.Immediate | undefined;
  /** The function that the pending immediate was set through: not always the present one, as tests replace it. */
  #immediateSetBy: typeof setImmediate | undefined;
  #immediateSetAt = -Infinity;
  #clock = setTimeout;
  #polledAt = -Infinity;
  readonly #alarm = new Alarm((at) => {
    this.#rangFor = at;
    this.#beginTurn();
  }, true);
  /** Inputs taken in that the policy has been told of. */
  #told = 0;
  /** The moment that an alarm which has rung stood for: a timer may ring a little before it by the clock. */
  #rangFor = -Infinity;

  /** Made here, so that the batch function sees the context that built the queue and never that of a caller. */
  readonly #context = new AsyncResource('BatchQueue', { requireManualDestroy: true });
  readonly #listeners = new Set<(report: BatchReport) => unknown>();
  readonly #counts = new Counts();
  readonly #batchSizes = new RecentDistribution(1);
  readonly #waitTime = new RecentDistribution(1000);
  readonly #runTime = new RecentDistribution(1000);
  readonly #serviceTime = new ServiceTime();
  readonly #progress = new Progress();
  /** Set while inputs wait for a slot, until it has warned once. */
  readonly #standstill = new Alarm((_at, now) => {
    this.#warnOfStandstill(now);
  }, false);
  #hasWarned = false;

  /**
   * @param batchFunction turns the inputs of a batch into their results
   * @throws TypeError or RangeError for options that make no sense, with what was expected and what was given
   */
  constructor(batchFunction: BatchFunction<Input, Result>, options: BatchOptions<Input>) {
    if (typeof batchFunction !== 'function') {
      throw new TypeError(`batchFunction: expected a function, got ${show(batchFunction)}`);
    }
    this.#batchFunction = batchFunction;
    this.#options = resolveOptions(options, functionName(batchFunction, 'batch queue'));
    this.#policy = createPolicy(this.#options.dispatch);
    this.#takesPlain = !this.#options.cost && !this.#options.groupBy;
    this.#room = new WaitingRoom(this.#options.aging);
    if (this.#options.autoStart) this.start();
  }

  get name(): string {
    return this.#options.name;
  }

  /** Most inputs in one batch. May be set at any time; the next decision uses it. */
  get batchSize(): number {
    return this.#options.batchSize;
  }
  set batchSize(value: number) {
    this.#options.batchSize = checkBatchSize(value);
    this.#decideAgain();
  }

  /** Longest wait with a free slot, in milliseconds. May be set at any time; the next decision uses it. */
  get maxDelay(): number {
    return this.#options.maxDelay;
  }
  set maxDelay(value: number) {
    this.#options.maxDelay = checkMilliseconds('maxDelay', value);
    this.#decideAgain();
  }

  /** Batches that may run at the same time. May be set at any time; running ones are not stopped. */
  get concurrency(): number {
    return this.#options.concurrency;
  }
  set concurrency(value: number) {
    this.#options.concurrency = checkConcurrency(value);
    this.#decideAgain();
  }

  /** Inputs that may wait. May be set at any time; a lower bound drops nobody, it only refuses the next. */
  get maxQueued(): number {
    return this.#options.maxQueued;
  }
  set maxQueued(value: number) {
    this.#options.maxQueued = checkMaxQueued(value);
    this.#letIn();
    this.#decideAgain();
  }

  /**
   * Takes in one input; never throws.
   *
   * @returns a promise of the input's own result. It rejects with the batch function's error, with `signal.reason`, or
   *   with a `QueueFullError`, `ServiceStoppedError`, `BatchTimeoutError` or `BatchResultError`.
   */
  submit(input: Input, options?: SubmitOptions): Promise<Result> {
    const promise = new Promise<unknown>(takeResolver) as Promise<Result>;
    const waiting = this.#room.length;
    const entry = new Entry(input, this.#beginTurn(waiting), resolver);
    // The usual case, told apart early: an input that asks for nothing, and a queue that has a place for it.
    const isOpen = this.#takesPlain && this.#state === 'started' && waiting < this.#options.maxQueued;
    if (!options && isOpen) this.#enter(entry);
    else this.#admit(entry, options);
    return promise;
  }

  /**
   * Takes in many inputs at once: all of them before a stop can take effect.
   *
   * More than `maxQueued` could never wait together. Where their number is known before (an array, a `Set`, anything
   * with a `length` or a `size`), none of them is taken in then, and every promise rejects with a `TooManyInputsError`;
   * with `onFull: 'wait'` they go through the queue, a part at a time.
   *
   * @returns one promise per input, in their order
   * @throws what running through the inputs throws; none of them is taken in then
   */
  submitMany(inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[] {
    const { maxQueued, onFull } = this.#options;
    const isOpen = this.#state === 'created' || this.#state === 'started';
    const areTooMany =
      isOpen && onFull === 'reject' && sizeOf(inputs) > maxQueued && !options?.signal?.aborted;
    const all = Array.from(inputs);
    if (areTooMany) return this.#submitTooMany(all, options);
    return all.map((input) => this.submit(input, options));
  }

  /** Lets batches leave, for a queue built with `autoStart: false`. */
  start(): void {
    if (this.#state === 'stopping' || this.#state === 'stopped') throw new ServiceStoppedError(this.name);
    this.#state = 'started';
    this.#decideAgain();
  }

  /**
   * Sends off what waits without further delay, and goes on taking inputs. Those that come later may travel in the same
   * batches, as far as these have room.
   *
   * @returns a promise that resolves when every input submitted before this call has ended; on a queue that was not
   *   started, not before it is
   */
  drain(): Promise<void> {
    const drained = this.#drains.drain();
    // Inputs that come from here on belong to another turn, which is not drained.
    this.#turn = undefined;
    this.#decideAgain();
    return drained;
  }

  /**
   * Takes no more inputs, runs those it has (also when it was never started) and stops. May be called again, with
   * harder options, while it is under way.
   *
   * @returns a promise that resolves when every input has ended
   */
  async stop({ timeout = Infinity, hard = false }: StopOptions = {}): Promise<void> {
    const limit = checkMilliseconds('timeout', timeout);
    if (this.#state !== 'stopped') this.#state = 'stopping';
    if (hard) {
      this.#dropAll();
      for (const batch of this.#batches) batch.abort(new ServiceStoppedError(this.name));
    }
    const timer = limit <= LONGEST_TIMER ? setTimeout(this.#abandon, limit) : undefined;
    await this.drain();
    clearTimeout(timer);
    this.#state = 'stopped';
    // Of a batch that hangs only its slot of the lane is still of interest: nothing to keep the process alive for.
    for (const batch of this.#batches) batch.limit?.unref();
  }

  /**
   * Calls `listener` after every batch. What it throws, or rejects with, becomes a process warning and affects no caller.
   *
   * @returns a function that ends the calls
   */
  onBatch(listener: (report: BatchReport) => void): () => void {
    if (typeof listener !== 'function') {
      throw new TypeError(`onBatch: expected a function, got ${show(listener)}`);
    }
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stats(): QueueStats {
    const now = performance.now();
    const { name } = this.#options;
    const { entered, refused, results, errors, drops, dispatches, running } = this.#counts;
    return {
      name,
      state: this.#state,
      options: publicOptions(this.#options),
      submitted: entered + refused,
      settled: results + errors,
      results,
      errors,
      dropped: drops.aborted + drops.timeout + drops.full + drops.stopped,
      drops: { ...drops },
      waiting: this.#room.length,
      running,
      blocked: this.#door.length,
      batches: dispatches.size + dispatches.delay + dispatches.idle + dispatches.drain,
      dispatches: { ...dispatches },
      runningBatches: this.#batches.size,
      batchSizes: this.#batchSizes.summarize(now),
      waitTime: this.#waitTime.summarize(now),
      runTime: this.#runTime.summarize(now),
    };
  }

  /** What claims to be too many is counted, as the `size` of an iterable need not be that of its inputs. */
  #submitTooMany(inputs: Input[], options: SubmitOptions | undefined): Promise<Result>[] {
    const { length } = inputs;
    const { maxQueued } = this.#options;
    if (length <= maxQueued) return inputs.map((input) => this.submit(input, options));
    this.#counts.refused += length;
    this.#counts.drops.full += length;
    const error = new TooManyInputsError(this.name, length, maxQueued);
    return inputs.map(() => Promise.reject<Result>(error));
  }

  #admit(entry: Entry<Input>, options: SubmitOptions | undefined): void {
    try {
      this.#place(entry, options);
    } catch (error) {
      // Bad options, or what their getters and the functions for cost and group threw.
      entry.reject(error);
    }
  }

  #place(entry: Entry<Input>, options: SubmitOptions | undefined): void {
    // Each is read once, as a getter need not give the same value twice.
    const { signal, timeout = Infinity, priority = 0, tenant } = options ?? NOTHING_ASKED;
    if (options) checkSubmitOptions(signal, timeout, priority);
    if (this.#isRefused(entry, signal)) return;
    const ticket = this.#ticket(entry.input, priority, tenant);
    // The functions for cost and group may have aborted the signal, or have stopped or drained this very queue.
    if (ticket && this.#isRefused(entry, signal)) return;
    if (entry.turn !== this.#turn) entry.turn = this.#beginTurn();
    const extras = options || ticket ? (entry.extras = new Extras<Input>(ticket)) : undefined;
    const late = this.#lateness(timeout, priority);
    if (late > 0) {
      this.#drop(entry, 'timeout', new DeadlineError(this.name, timeout, Math.max(1, late)));
    } else if (this.#hasRoom(entry)) {
      this.#enter(entry);
    } else if (this.#options.onFull === 'wait') {
      entry.place = 'door';
      entry.turn.epoch.pending++;
      this.#door.push(entry);
    } else {
      const wait = expectedWait(this.#backlog(), this.#serviceTime, performance.now());
      const retryAfter = Math.max(1, wait);
      const { maxQueued } = this.#options;
      this.#drop(entry, 'full', new QueueFullError(this.name, maxQueued, retryAfter, this.#room.length));
    }
    const isIn = entry.place !== 'nowhere';
    if (isIn && extras && (signal || timeout < Infinity)) this.#watch(entry, extras, signal, timeout);
  }

  /** Whether its caller has gone or the queue takes no more inputs; then it is dropped. */
  #isRefused(entry: Entry<Input>, signal: AbortSignal | undefined): boolean {
    if (signal?.aborted) {
      this.#drop(entry, 'aborted', abortReason(signal));
    } else if (this.#state === 'stopping' || this.#state === 'stopped') {
      this.#drop(entry, 'stopped', new ServiceStoppedError(this.name));
    } else {
      return false;
    }
    return true;
  }

  /** Where the input stands, unless it is plain. */
  #ticket(input: Input, priority: number, tenant: unknown): Ticket<Entry<Input>> | undefined {
    const { maxCost } = this.#options;
    if (!this.#options.cost && !this.#options.groupBy && priority === 0 && tenant === undefined)
      return undefined;
    const cost = this.#options.cost?.(input) ?? 0;
    if (typeof cost !== 'number') void ignoreRejection(cost);
    if (checkCost('cost', cost) > maxCost) throw new InputCostError(this.name, cost, maxCost);
    const group = this.#options.groupBy?.(input);
    if (isThenable(group)) {
      void ignoreRejection(group);
      throw new TypeError(`groupBy: expected a key, got ${show(group)}; it must not be async`);
    }
    return { group, priority, tenant, cost, line: undefined };
  }

  /** A queue that is empty takes an input of any cost: there would never be more room for it. */
  #hasRoom({ extras }: Entry<Input>): boolean {
    const { maxQueued, maxQueuedCost } = this.#options;
    if (this.#room.length >= maxQueued) return false;
    const ticket = extras?.ticket;
    return !ticket || this.#room.length === 0 || this.#room.cost + ticket.cost <= maxQueuedCost;
  }

  /** Whether nobody more may come in, so that waiting for more would be in vain. */
  get #isFull(): boolean {
    const { maxQueued, maxQueuedCost } = this.#options;
    return this.#room.length >= maxQueued || this.#room.cost >= maxQueuedCost || this.#door.length > 0;
  }

  #enter(entry: Entry<Input>): void {
    // Who comes in by the door is pending already.
    if (entry.place === 'nowhere') entry.turn.epoch.pending++;
    this.#counts.entered++;
    entry.place = 'room';
    this.#room.push(entry);
  }

  #lateness(timeout: number, priority: number): number {
    if (timeout === Infinity) return 0;
    return lateness(this.#backlog(priority), timeout, this.#serviceTime, performance.now());
  }

  /** What stands before an input of this priority that comes now. */
  #backlog(priority = 0): Backlog {
    const { batchSize, concurrency } = this.#options;
    return { batchSize, concurrency, ahead: this.#room.ahead(priority), running: this.#batches };
  }

  /**
   * Makes sure that `#pump` is called in the check phase, after the poll phase has read the sockets, so that requests
   * which are already there travel together. An immediate that is set in the check phase waits for the next one: after
   * a batch function that blocked the loop, a poll phase passes first.
   */
  #beginTurn(waiting = this.#room.length): Turn {
    if (this.#immediateSetBy !== setImmediate) this.#setImmediate();
    else if ((waiting & (waiting - 1)) === 0) this.#checkImmediate();
    return (this.#turn ??= new Turn(performance.now(), this.#drains.current));
  }

  /**
   * A fake clock (of a test) that comes or goes, or is wound back, takes along what is pending, and the queue would wait
   * for ever. As it costs to look at the clock, that is done for the 1st, 2nd, 4th, 8th … input that waits.
   */
  #checkImmediate(): void {
    if (Math.abs(performance.now() - this.#immediateSetAt) > OVERDUE) this.#setImmediate();
  }

  #setImmediate(): void {
    // That of another clock is left alone: one too many costs a look at the queue.
    if (this.#immediateSetBy === setImmediate) clearImmediate(this.#immediate);
    this.#immediate = setImmediate(this.#endTurn);
    this.#immediateSetBy = setImmediate;
    this.#immediateSetAt = performance.now();
    this.#turn = new Turn(this.#immediateSetAt, this.#drains.current);
  }

  #decideAgain(): void {
    if (this.#room.length > 0) this.#beginTurn();
  }

  readonly #endTurn = (): void => {
    this.#turn = this.#immediate = this.#immediateSetBy = undefined;
    const now = performance.now();
    if (this.#clock !== setTimeout || now < this.#polledAt) this.#changeClock(now);
    this.#polledAt = now;
    this.#context.runInAsyncScope(this.#pump, this, this.#polledAt);
  };

  /** Gives up for the caller when its signal aborts or its time is over. */
  #watch(entry: Entry<Input>, extras: Extras<Input>, signal: AbortSignal | undefined, timeout: number): void {
    const onTimeout = () => {
      const phase = typeof entry.place === 'string' ? 'waiting' : 'running';
      this.#giveUp(entry, 'timeout', new BatchTimeoutError(this.name, timeout, phase));
    };
    const timer = timeout <= LONGEST_TIMER ? setTimeout(onTimeout, timeout) : undefined;
    let unlisten: (() => void) | undefined;
    if (timer || signal) {
      extras.onLeave = () => {
        clearTimeout(timer);
        unlisten?.();
      };
    }
    if (!signal) return;
    const onAborted = () => {
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
    if (entry.place === 'gone') return;
    const { place } = entry;
    if (typeof place === 'string') {
      this.#drop(entry, reason, error);
      return;
    }
    this.#reject(entry, error);
    place.abortIfDeserted(error);
  }

  /** The one decision: if a slot is free and there is a reason, a batch leaves; else the alarm is set. */
  #pump(now: number): void {
    const { batchSize, concurrency, maxDelay, maxCost, lane } = this.#options;
    const slotFree = this.#batches.size < concurrency;
    // Those who came may have gone again in the same turn.
    const came = Math.min(this.#counts.entered - this.#told, this.#room.length);
    if (came > 0) this.#policy.arrived?.(came, this.#room.length, slotFree, now);
    this.#told = this.#counts.entered;
    const group = slotFree && this.#state !== 'created' ? this.#room.next(batchSize, maxCost) : undefined;
    const oldest = group?.oldest;
    if (!group || !oldest) {
      lane?.withdraw(this.#retry);
      if (!slotFree) this.#expectProgress(this.#progress, now);
    } else if (this.#isFull || group.isFull(batchSize, maxCost)) {
      this.#leave(group, 'size', now);
    } else if (oldest.turn.epoch.isDraining) {
      this.#leave(group, 'drain', now);
    } else {
      const waiting = group.length;
      const serviceTime = (size: number) => this.#serviceTime.of(size);
      const others = this.#room.length - waiting;
      const untilOtherSlot = untilSlot(this.#batches, concurrency - 1, this.#serviceTime, now);
      const view = {
        batchSize,
        maxDelay,
        waiting,
        others,
        oldest: oldest.turn.at,
        serviceTime,
        untilOtherSlot,
      };
      const leaveAt = this.#policy.leaveAt(view, now);
      if (leaveAt <= Math.max(now, this.#rangFor)) {
        this.#leave(group, this.#policy.reason, now);
      } else {
        lane?.withdraw(this.#retry);
        this.#setAlarm(leaveAt, now);
      }
    }
  }

  #setAlarm(at: number, now: number): void {
    // One that rings too early costs a look; setting it anew for every input would cost more.
    if (this.#alarm.at > at || this.#alarm.isOverdue(now)) this.#alarm.set(at, now);
  }

  /** There are none while nothing waits. */
  #clearAlarms(): void {
    this.#alarm.clear();
    this.#standstill.clear();
  }

  /** A fake clock has come, gone or been wound back, as in a test: the moments of before mean nothing to it. */
  #changeClock(now: number): void {
    this.#clock = setTimeout;
    this.#clearAlarms();
    this.#rangFor = -Infinity;
    for (const { turn } of this.#room) turn.at = Math.min(turn.at, now);
    for (let entry = this.#door.first; entry; entry = entry.next)
      entry.turn.at = Math.min(entry.turn.at, now);
    for (const { limit } of this.#batches) limit?.set(now + this.#options.runTimeout, now);
  }

  /** Inputs wait, and no slot is free: if that stays so for long, the batches that hold them may wait for these inputs. */
  #expectProgress(progress: Progress, now: number): void {
    if (this.#room.length === 0 || this.#hasWarned) return;
    if (this.#standstill.at < Infinity && !this.#standstill.isOverdue(now)) return;
    this.#standstill.set(progress.standstillAt(now), now);
  }

  #warnOfStandstill(now: number): void {
    const { concurrency, lane } = this.#options;
    const waitsForLane = lane?.hasWaiting(this.#retry) ? lane.progress : undefined;
    const progress = this.#batches.size < concurrency ? waitsForLane : this.#progress;
    // Else a slot is free again, and the inputs wait for others.
    if (!progress) return;
    const at = progress.standstillAt();
    if (at > now) {
      this.#standstill.set(at, now);
      return;
    }
    this.#hasWarned = true;
    process.emitWarning(
      `${this.name}: ${this.#room.length} inputs wait, and no batch has ended for ${Math.round((now - progress.movedAt) / 1000)} s. ` +
        'A batch function that awaits its own queue, or one whose queue shares its lane, waits for itself once all slots ' +
        'are taken: submit to it from outside the batch, or raise concurrency. One that hangs needs a runTimeout',
      'BatchingWarning',
    );
  }

  /** Sends a batch off, if the lane has a slot; else it is tried again when it has. */
  #leave(group: Group<Entry<Input>>, reason: DispatchReason, now: number): void {
    const { batchSize, maxCost, lane } = this.#options;
    if (lane && !lane.tryEnter(this.#retry)) {
      this.#expectProgress(lane.progress, now);
      return;
    }
    const batch = new Batch(this.#room.take(group, batchSize, maxCost), reason, now);
    this.#policy.left?.();
    this.#batches.add(batch);
    this.#progress.started(now);
    this.#counts.dispatches[reason]++;
    this.#counts.running += batch.size;
    this.#batchSizes.record(batch.size, 1, now);
    this.#recordWaits(batch);
    this.#letIn();
    if (this.#room.length === 0) this.#clearAlarms();
    // One batch per turn: the batch function may block the loop, then the sockets are read before the next.
    this.#decideAgain();
    void this.#run(batch);
  }

  readonly #retry = (): void => {
    this.#beginTurn();
  };

  #recordWaits({ first, size, oldest, ofOneTurn, leftAt }: Batch<Input>): void {
    if (ofOneTurn) {
      this.#waitTime.record(leftAt - oldest, size, leftAt);
      return;
    }
    for (let entry = first; entry; entry = entry.next)
      this.#waitTime.record(leftAt - entry.turn.at, 1, leftAt);
  }

  /** Lets in those who wait at the door, while there is room. */
  #letIn(): void {
    for (let entry = this.#door.first; entry && this.#hasRoom(entry); entry = this.#door.first) {
      this.#door.remove(entry);
      this.#enter(entry);
    }
  }

  async #run(batch: Batch<Input>): Promise<void> {
    try {
      const results = this.#check(await this.#call(batch, batch.inputs), batch.size);
      let index = 0;
      for (let entry = batch.first; entry; entry = entry.next) this.#settle(batch, entry, results, index++);
      if (batch.late) await this.#settleLate(batch, batch.late);
    } catch (error) {
      this.#count(batch);
      if (this.#options.isolateErrors) await this.#isolate(batch, [...batch], error);
      // The final sweep: whatever broke, nobody of this batch is left hanging.
      this.#rejectAll(batch, error);
    }
    this.#end(batch);
  }

  /** Runs the batch function once, and sets the time limit of this run. */
  #call(batch: Batch<Input>, inputs: Input[]): unknown {
    const { runTimeout } = this.#options;
    // A function that does not declare the context gets none: one that has an optional parameter of its own in that
    // place, or checks its arguments, is not surprised.
    const batchFunction = this.#batchFunction as (inputs: Input[], batch?: Batch<Input>) => unknown;
    const returned = batchFunction.length > 1 ? batchFunction(inputs, batch) : batchFunction(inputs);
    if (runTimeout <= LONGEST_TIMER) {
      batch.limit ??= new Alarm(() => {
        // The batch ends here: what the function returns later meets callers that have gone.
        const error = new BatchTimeoutError(this.name, runTimeout, 'hanging');
        batch.abort(error);
        this.#rejectAll(batch, error);
        this.#end(batch);
      }, true);
      const now = performance.now();
      batch.limit.set(now + runTimeout, now);
    }
    return returned;
  }

  #check(results: unknown, size: number): ArrayLike<unknown> {
    const list: ArrayLike<unknown> | undefined =
      Array.isArray(results) || types.isTypedArray(results) ? results : undefined;
    if (!list) throw new BatchResultError(this.name, size, show(results));
    if (list.length !== size) {
      for (const result of Array.from(list)) void ignoreRejection(result);
      throw new BatchResultError(this.name, size, `${list.length} results`);
    }
    return list;
  }

  /** A result that cannot even be looked at is its own caller's alone. */
  #settle(batch: Batch<Input>, entry: Entry<Input>, results: ArrayLike<unknown>, index: number): void {
    try {
      const result = results[index];
      if (isThenable(result)) (batch.late ??= []).push(this.#giveLater(batch, entry, result));
      else this.#give(batch, entry, result);
    } catch (error) {
      this.#reject(entry, error);
    }
  }

  /** Waits for the promises in results' places: they are part of the run. What has a result already is counted. */
  async #settleLate(batch: Batch<Input>, late: Promise<void>[]): Promise<void> {
    batch.late = undefined;
    this.#count(batch);
    await Promise.all(late);
  }

  async #giveLater(batch: Batch<Input>, entry: Entry<Input>, result: PromiseLike<unknown>): Promise<void> {
    try {
      this.#give(batch, entry, await result);
      this.#count(batch);
    } catch (error) {
      this.#reject(entry, error);
    }
  }

  #give(batch: Batch<Input>, entry: Entry<Input>, result: unknown): void {
    if (isError(result)) {
      this.#reject(entry, result);
    } else if (entry.place === batch) {
      batch.uncounted++;
      this.#depart(entry);
      entry.resolve(result);
    }
  }

  /** Results are counted together: this is the hottest path. */
  #count(batch: Batch<Input>): void {
    batch.results += batch.uncounted;
    this.#counts.results += batch.uncounted;
    this.#counts.running -= batch.uncounted;
    batch.remaining -= batch.uncounted;
    batch.uncounted = 0;
  }

  /**
   * Runs the halves of what failed, and theirs, down to the inputs at fault. Those whose callers have gone since took part
   * in the run that failed, and may be at fault, but are not run again.
   */
  async #isolate(batch: Batch<Input>, failed: Entry<Input>[], error: unknown): Promise<void> {
    // After a wrong number of results no part of the batch would fare better; one that was aborted, because a part of it
    // hangs or by a hard stop, is given up as a whole.
    if (failed.length < 2 || error instanceof BatchResultError || batch.isAborted) {
      for (const entry of batch.isAborted ? batch : failed) this.#reject(entry, error);
      return;
    }
    const middle = failed.length >> 1;
    for (const half of [failed.slice(0, middle), failed.slice(middle)]) {
      const entries = half.filter((entry) => entry.place === batch);
      if (entries.length === 0) continue;
      try {
        const inputs = entries.map((entry) => entry.input);
        const results = this.#check(await this.#call(batch, inputs), inputs.length);
        entries.forEach((entry, index) => {
          this.#settle(batch, entry, results, index);
        });
        if (batch.late) await this.#settleLate(batch, batch.late);
        this.#count(batch);
      } catch (cause) {
        await this.#isolate(batch, entries, cause);
      }
    }
  }

  #end(batch: Batch<Input>): void {
    // One that was given up has ended already.
    if (!this.#batches.delete(batch)) return;
    batch.limit?.clear();
    const now = performance.now();
    const ran = now - batch.leftAt;
    this.#count(batch);
    this.#runTime.record(ran, 1, now);
    this.#serviceTime.record(batch.size, ran, now);
    this.#progress.ended(now, ran);
    this.#policy.ended?.(now);
    this.#options.lane?.leave(ran);
    if (this.#listeners.size > 0) this.#report(batch, ran);
    // A full batch gains nothing from another look at the sockets, but they shall not wait for a long backlog.
    if (this.#room.length >= this.#options.batchSize && now - this.#polledAt < 1) this.#pump(now);
    else this.#decideAgain();
  }

  #report({ size, reason, leftAt, oldest, results }: Batch<Input>, ran: number): void {
    const report = {
      queue: this.name,
      size,
      reason,
      waited: leftAt - oldest,
      ran,
      results,
      errors: size - results,
    };
    const warn = (thrown: unknown) => {
      process.emitWarning(`a listener of ${this.name} threw: ${showThrown(thrown)}`, 'BatchingWarning');
    };
    // Those of now: a listener may add others.
    for (const listener of [...this.#listeners]) {
      try {
        const returned = listener(report);
        if (isThenable(returned)) returned.then(undefined, warn);
      } catch (error) {
        warn(error);
      }
    }
  }

  #reject(entry: Entry<Input>, error: unknown): void {
    const { place } = entry;
    if (typeof place === 'string') return;
    place.remaining--;
    this.#counts.errors++;
    this.#counts.running--;
    this.#depart(entry);
    entry.reject(error);
  }

  #rejectAll(batch: Batch<Input>, error: unknown): void {
    for (const entry of batch) this.#reject(entry, error);
  }

  #drop(entry: Entry<Input>, reason: DropReason, error: unknown): void {
    if (entry.place === 'room') this.#room.remove(entry);
    else this.#counts.refused++;
    if (entry.place === 'door') this.#door.remove(entry);
    this.#counts.drops[reason]++;
    if (entry.place !== 'nowhere') this.#depart(entry);
    entry.reject(error);
    this.#letIn();
    if (this.#room.length === 0) this.#clearAlarms();
  }

  /** The end of every input, whatever its outcome. */
  #depart(entry: Entry<Input>): void {
    entry.place = 'gone';
    entry.extras?.onLeave?.();
    const { epoch } = entry.turn;
    if (--epoch.pending === 0) this.#drains.ended();
  }

  /** Drops everything that waits. */
  #dropAll(): void {
    // The door first, or it would refill the room.
    for (let entry = this.#door.first; entry; entry = this.#door.first) this.#dropStopped(entry);
    for (const entry of [...this.#room]) this.#dropStopped(entry);
  }

  #dropStopped(entry: Entry<Input>): void {
    this.#drop(entry, 'stopped', new ServiceStoppedError(this.name, 'dropped this input'));
  }

  /** Waits for nothing any more. */
  readonly #abandon = (): void => {
    this.#dropAll();
    for (const batch of this.#batches) {
      const error = new ServiceStoppedError(this.name, 'did not wait for this batch');
      this.#rejectAll(batch, error);
      batch.abort(error);
    }
  };
}

class Counts {
  /** Inputs taken in, and those that never were: submitted, together. */
  entered = 0;
  refused = 0;
  results = 0;
  errors = 0;
  running = 0;
  readonly drops: Record<DropReason, number> = { aborted: 0, timeout: 0, full: 0, stopped: 0 };
  readonly dispatches: Record<DispatchReason, number> = { size: 0, delay: 0, idle: 0, drain: 0 };
}

/** How many inputs there are, as far as that can be known without running through them. */
function sizeOf(inputs: unknown): number {
  const { length, size } = (inputs ?? {}) as { length?: unknown; size?: unknown };
  return typeof length === 'number' ? length : typeof size === 'number' ? size : 0;
}

/** Milliseconds after which an immediate has been lost. One that is only late, as the loop is blocked, is set anew. */
const OVERDUE = 5;

/** What a caller without options asks for. */
const NOTHING_ASKED: SubmitOptions = {};

let resolver: (result: unknown) => void;

/** One executor for all promises: a closure per input would cost more than the queue's own work on it. */
function takeResolver(resolve: (result: unknown) => void): void {
  resolver = resolve;
}

/** What `stats` shows of the options: no functions, nothing that is told elsewhere. */
function publicOptions<Input>(options: ResolvedOptions<Input>): QueueStats['options'] {
  const { batchSize, maxDelay, dispatch, concurrency, maxQueued, onFull } = options;
  const { maxCost, maxQueuedCost, aging, isolateErrors, runTimeout } = options;
  return {
    batchSize,
    maxDelay,
    dispatch,
    concurrency,
    maxQueued,
    onFull,
    maxCost,
    maxQueuedCost,
    aging,
    isolateErrors,
    runTimeout,
  };
}

/** Errors of another realm (a vm context, Jest) are no `instanceof Error` here. */
function isError(value: unknown): value is Error {
  return typeof value === 'object' && (value instanceof Error || types.isNativeError(value));
}

/** Whether `await` would wait for it. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' ? typeof value !== 'function' : value === null) return false;
  return typeof (value as Partial<PromiseLike<unknown>>).then === 'function';
}

/** A promise that is not wanted must not end the process when it rejects. Other thenables are not even started. */
async function ignoreRejection(value: unknown): Promise<void> {
  try {
    if (types.isPromise(value)) await value;
  } catch {
    // Its caller has the error of the batch.
  }
}
