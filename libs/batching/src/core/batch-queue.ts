import { AsyncResource } from 'node:async_hooks';
import { types } from 'node:util';
import { onAbort } from './abort-listener.js';
import { type DispatchReason, policies } from './dispatch-policy.js';
import { RecentDistribution } from './distribution.js';
import { BatchResultError, BatchTimeoutError, QueueFullError, ServiceStoppedError } from './errors.js';
import {
  type BatchFunction,
  type BatchOptions,
  checkBatchSize,
  checkConcurrency,
  checkMaxQueued,
  checkMilliseconds,
  LONGEST_TIMER,
  type ResolvedOptions,
  resolveOptions,
  show,
  type StopOptions,
  type SubmitOptions,
} from './options.js';
import type { BatchReport, DropReason, QueueState, QueueStats } from './stats.js';
import { type Linked, WaitingLine } from './waiting-line.js';

/**
 * Takes inputs one at a time, runs them through the batch function in batches, and gives every caller its own result.
 *
 * Invariants, at any moment between two calls:
 * - submitted = settled + dropped + waiting + running; every input ends exactly once.
 * - A batch holds at most `batchSize` inputs, in order of arrival, and is closed when it leaves, not before.
 * - With a free slot an input waits at most `maxDelay` from its submission, plus the lag of the timer and one turn
 *   of the event loop. With all slots busy it waits for a slot.
 * - At most one immediate is pending, and at most one alarm, which is off when nothing waits.
 *
 * An input's way: `submit` takes it in → `#pump` decides → `#run` calls the batch function → `#settle`.
 */
export class BatchQueue<Input, Result> {
  readonly #batchFunction: BatchFunction<Input, Result>;
  readonly #options: ResolvedOptions;
  #state: QueueState = 'created';

  /** Inputs taken in. Beyond `maxQueued`, callers that may wait for room (`onFull: 'wait'`) stand at the door. */
  readonly #line = new WaitingLine<Entry<Input>>();
  readonly #door = new WaitingLine<Entry<Input>>();
  readonly #batches = new Set<Batch<Input>>();

  /** The present turn of the event loop, if an input came in it. */
  #turn: Turn | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #polledAt = -Infinity;
  #alarm: NodeJS.Timeout | undefined;
  #alarmAt = Infinity;
  /** The moment that an alarm which has rung stood for: a timer may ring a little before it by the clock. */
  #rangFor = -Infinity;

  /** Made here, so that the batch function sees the context that built the queue and never that of a caller. */
  readonly #context = new AsyncResource('BatchQueue', { requireManualDestroy: true });
  readonly #listeners = new Set<(report: BatchReport) => void>();
  readonly #counts = new Counts();
  readonly #batchSizes = new RecentDistribution(1);
  readonly #waitTime = new RecentDistribution(1000);
  readonly #runTime = new RecentDistribution(1000);
  /** Moving average in milliseconds; undefined until a batch has ended. */
  #usualRunTime: number | undefined;

  /**
   * @param batchFunction turns the inputs of a batch into their results
   * @throws TypeError or RangeError for options that make no sense, with what was expected and what was given
   */
  constructor(batchFunction: BatchFunction<Input, Result>, options: BatchOptions) {
    if (typeof batchFunction !== 'function') {
      throw new TypeError(`batchFunction: expected a function, got ${show(batchFunction)}`);
    }
    this.#batchFunction = batchFunction;
    this.#options = resolveOptions(options, batchFunction.name || 'batch queue');
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
    const promise = new Promise<unknown>(takeSettlers) as Promise<Result>;
    const entry = new Entry(input, resolver, rejecter);
    try {
      this.#admit(entry, options);
    } catch (error) {
      entry.reject(error);
    }
    return promise;
  }

  /**
   * Takes in many inputs at once: all of them before a stop can take effect.
   *
   * @returns one promise per input, in their order
   */
  submitMany(inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[] {
    return Array.from(inputs, (input) => this.submit(input, options));
  }

  /** Lets batches leave, for a queue built with `autoStart: false`. */
  start(): void {
    if (this.#state === 'stopping' || this.#state === 'stopped') throw new ServiceStoppedError(this.name);
    this.#state = 'started';
    this.#decideAgain();
  }

  /**
   * Sends off what waits without further delay, and goes on taking inputs.
   *
   * @returns a promise that resolves when every input submitted before this call has ended; on a queue that was not
   *   started, not before it is
   */
  drain(): Promise<void> {
    const { promise, resolve } = withResolvers();
    let left = 1;
    const ended = () => {
      if (--left === 0) resolve();
    };
    for (const entry of this.#entries()) {
      left++;
      entry.onLeave = both(entry.onLeave, ended);
      if (entry.turn) entry.turn.draining = true;
    }
    ended();
    // Inputs that come from here on belong to another turn, which is not drained.
    this.#turn = undefined;
    this.#decideAgain();
    return promise;
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
    if (hard) this.#dropAll();
    const timer = limit <= LONGEST_TIMER ? setTimeout(this.#abandon, limit) : undefined;
    await this.drain();
    clearTimeout(timer);
    this.#state = 'stopped';
  }

  /** Calls `listener` after every batch. A listener that throws is told by a process warning and hurts nobody. */
  onBatch(listener: (report: BatchReport) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stats(): QueueStats {
    const now = performance.now();
    const { name, batchSize, maxDelay, dispatch, concurrency, maxQueued, onFull } = this.#options;
    const { submitted, results, errors, drops, dispatches, running } = this.#counts;
    return {
      name,
      state: this.#state,
      options: { batchSize, maxDelay, dispatch, concurrency, maxQueued, onFull },
      submitted,
      settled: results + errors,
      results,
      errors,
      dropped: drops.aborted + drops.timeout + drops.full + drops.stopped,
      drops: { ...drops },
      waiting: this.#line.length,
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

  #admit(entry: Entry<Input>, options: SubmitOptions | undefined): void {
    if (options) checkSubmitOptions(options);
    if (options?.signal?.aborted) {
      this.#drop(entry, 'aborted', options.signal.reason);
    } else if (this.#state === 'stopping' || this.#state === 'stopped') {
      this.#drop(entry, 'stopped', new ServiceStoppedError(this.name));
    } else if (this.#line.length < this.#options.maxQueued) {
      this.#enter(entry, options);
      this.#toLine(entry);
    } else if (this.#options.onFull === 'wait') {
      this.#enter(entry, options);
      entry.place = Place.Door;
      this.#door.push(entry);
    } else {
      this.#drop(entry, 'full', new QueueFullError(this.name, this.#options.maxQueued, this.#usualWait()));
    }
  }

  #enter(entry: Entry<Input>, options: SubmitOptions | undefined): void {
    entry.turn = this.#beginTurn();
    if (options) this.#watch(entry, options);
  }

  #toLine(entry: Entry<Input>): void {
    this.#counts.submitted++;
    entry.place = Place.Line;
    this.#line.push(entry);
  }

  /** When the inputs that wait now will have left, in milliseconds, if batches go on running as they did. */
  #usualWait(): number {
    const { batchSize, concurrency } = this.#options;
    const batches = Math.ceil(this.#line.length / batchSize) / concurrency;
    return this.#usualRunTime === undefined ? 1000 : batches * this.#usualRunTime;
  }

  /**
   * Makes sure that `#pump` is called in the check phase, after the poll phase has read the sockets, so that requests
   * which are already there travel together. An immediate that is set in the check phase waits for the next one: after
   * a batch function that blocked the loop, a poll phase passes first.
   */
  #beginTurn(): Turn {
    if (!this.#immediate) this.#immediate = setImmediate(this.#endTurn);
    return (this.#turn ??= new Turn(performance.now()));
  }

  #decideAgain(): void {
    if (this.#line.length > 0) this.#beginTurn();
  }

  readonly #endTurn = (): void => {
    this.#turn = this.#immediate = undefined;
    this.#polledAt = performance.now();
    this.#context.runInAsyncScope(this.#pump, this);
  };

  /** Gives up for the caller when its signal aborts or its time is over. */
  #watch(entry: Entry<Input>, { signal, timeout = Infinity }: SubmitOptions): void {
    const onTimeout = () => {
      const phase = entry.place === Place.Batch ? 'running' : 'waiting';
      this.#giveUp(entry, 'timeout', new BatchTimeoutError(this.name, timeout, phase));
    };
    const timer = timeout <= LONGEST_TIMER ? setTimeout(onTimeout, timeout) : undefined;
    const unlisten =
      signal &&
      onAbort(signal, () => {
        this.#giveUp(entry, 'aborted', signal.reason);
      });
    entry.onLeave = () => {
      clearTimeout(timer);
      unlisten?.();
    };
  }

  #giveUp(entry: Entry<Input>, reason: DropReason, error: unknown): void {
    if (entry.place === Place.Batch) this.#reject(entry, error);
    else this.#drop(entry, reason, error);
  }

  /** The one decision: if a slot is free and there is a reason, a batch leaves; else the alarm is set. */
  #pump(): void {
    const { batchSize, concurrency, maxDelay, maxQueued, dispatch } = this.#options;
    const oldest = this.#line.first;
    if (!oldest?.turn || this.#state === 'created' || this.#batches.size >= concurrency) return;
    const waiting = this.#line.length;
    const now = performance.now();

    if (waiting >= Math.min(batchSize, maxQueued)) {
      this.#dispatch('size', now);
    } else if (oldest.turn.draining) {
      this.#dispatch('drain', now);
    } else {
      const policy = policies[dispatch];
      const leaveAt = policy.leaveAt({ batchSize, maxDelay, waiting, oldest: oldest.turn.at }, now);
      if (leaveAt <= Math.max(now, this.#rangFor)) this.#dispatch(policy.reason, now);
      else this.#setAlarm(leaveAt, now);
    }
  }

  #setAlarm(at: number, now: number): void {
    // One that rings too early costs a look; setting it anew for every input would cost more.
    if (this.#alarm && this.#alarmAt <= at) return;
    this.#clearAlarm();
    if (at - now > LONGEST_TIMER) return;
    this.#alarmAt = at;
    this.#alarm = setTimeout(() => {
      this.#rangFor = this.#alarmAt;
      this.#clearAlarm();
      this.#beginTurn();
    }, at - now);
  }

  #clearAlarm(): void {
    clearTimeout(this.#alarm);
    this.#alarm = undefined;
    this.#alarmAt = Infinity;
  }

  #dispatch(reason: DispatchReason, now: number): void {
    const batch = this.#takeBatch(reason, now);
    this.#batches.add(batch);
    this.#counts.dispatches[reason]++;
    this.#counts.running += batch.inputs.length;
    this.#batchSizes.record(batch.inputs.length, 1, now);
    this.#letIn();
    if (this.#line.length === 0) this.#clearAlarm();
    // One batch per turn: the batch function may block the loop, then the sockets are read before the next.
    this.#decideAgain();
    void this.#run(batch);
  }

  /** Cuts the next batch off the line. */
  #takeBatch(reason: DispatchReason, now: number): Batch<Input> {
    const size = Math.min(this.#line.length, this.#options.batchSize);
    const batch = new Batch<Input>(this.#line.first, reason, now);
    const inputs = batch.inputs;
    // Inputs of one turn share a reading of the clock, so their waits are recorded together.
    let turn = batch.first?.turn;
    let together = 0;
    let entry = batch.first;
    for (let taken = 0; entry && taken < size; taken++) {
      if (entry.turn !== turn) {
        this.#recordWait(turn, together, now);
        turn = entry.turn;
        together = 0;
      }
      together++;
      entry.place = Place.Batch;
      inputs.push(entry.input);
      entry = entry.next;
    }
    this.#recordWait(turn, together, now);
    this.#line.cut(entry, size);
    return batch;
  }

  #recordWait(turn: Turn | undefined, count: number, now: number): void {
    if (turn) this.#waitTime.record(now - turn.at, count, now);
  }

  /** Lets in those who wait at the door, while there is room. */
  #letIn(): void {
    for (
      let entry = this.#door.first;
      entry && this.#line.length < this.#options.maxQueued;
      entry = this.#door.first
    ) {
      this.#door.remove(entry);
      this.#toLine(entry);
    }
  }

  async #run(batch: Batch<Input>): Promise<void> {
    const size = batch.inputs.length;
    try {
      const results: unknown = await this.#batchFunction(batch.inputs);
      this.#settle(batch, size, results);
    } catch (error) {
      // Also the final sweep: whatever broke, nobody of this batch is left hanging.
      for (let entry = batch.first; entry; entry = entry.next) this.#reject(entry, error);
    }
    this.#end(batch, size);
  }

  #settle(batch: Batch<Input>, size: number, results: unknown): void {
    if (!Array.isArray(results)) throw new BatchResultError(this.name, size, show(results));
    if (results.length !== size) throw new BatchResultError(this.name, size, `${results.length} results`);
    let index = 0;
    for (let entry = batch.first; entry; entry = entry.next) {
      const result: unknown = results[index++];
      if (isError(result)) {
        this.#reject(entry, result);
      } else if (entry.place === Place.Batch) {
        batch.results++;
        this.#leave(entry);
        entry.resolve(result);
      }
    }
  }

  #end(batch: Batch<Input>, size: number): void {
    const now = performance.now();
    const ran = now - batch.leftAt;
    this.#batches.delete(batch);
    this.#counts.results += batch.results;
    this.#counts.running -= batch.results;
    this.#runTime.record(ran, 1, now);
    this.#usualRunTime =
      this.#usualRunTime === undefined ? ran : this.#usualRunTime + (ran - this.#usualRunTime) / 8;
    if (this.#listeners.size > 0) this.#report(batch, size, ran);
    // A full batch gains nothing from another look at the sockets, but they shall not wait for a long backlog.
    if (this.#line.length >= this.#options.batchSize && now - this.#polledAt < 1) this.#pump();
    else this.#decideAgain();
  }

  #report({ reason, leftAt, oldest, results }: Batch<Input>, size: number, ran: number): void {
    const report = {
      queue: this.name,
      size,
      reason,
      waited: leftAt - oldest,
      ran,
      results,
      errors: size - results,
    };
    for (const listener of this.#listeners) {
      try {
        listener(report);
      } catch (error) {
        process.emitWarning(`a listener of ${this.name} threw: ${String(error)}`, 'BatchingWarning');
      }
    }
  }

  #reject(entry: Entry<Input>, error: unknown): void {
    if (entry.place !== Place.Batch) return;
    this.#counts.errors++;
    this.#counts.running--;
    this.#leave(entry);
    entry.reject(error);
  }

  #drop(entry: Entry<Input>, reason: DropReason, error: unknown): void {
    if (entry.place === Place.Line) this.#line.remove(entry);
    else this.#counts.submitted++;
    if (entry.place === Place.Door) this.#door.remove(entry);
    this.#counts.drops[reason]++;
    this.#leave(entry);
    entry.reject(error);
    this.#letIn();
    if (this.#line.length === 0) this.#clearAlarm();
  }

  /** The end of every input, whatever its outcome. */
  #leave(entry: Entry<Input>): void {
    entry.place = Place.Gone;
    entry.onLeave?.();
  }

  /** Every input that has not ended. */
  *#entries(): Generator<Entry<Input>> {
    for (const batch of this.#batches) {
      for (let entry = batch.first; entry; entry = entry.next) if (entry.place === Place.Batch) yield entry;
    }
    for (let entry = this.#line.first; entry; entry = entry.next) yield entry;
    for (let entry = this.#door.first; entry; entry = entry.next) yield entry;
  }

  /** Drops everything that waits. */
  #dropAll(): void {
    for (const line of [this.#door, this.#line]) {
      for (let entry = line.first; entry; entry = line.first) {
        this.#drop(entry, 'stopped', new ServiceStoppedError(this.name, 'dropped this input'));
      }
    }
  }

  /** Waits for nothing any more. */
  readonly #abandon = (): void => {
    this.#dropAll();
    for (const batch of this.#batches) {
      const error = new ServiceStoppedError(this.name, 'did not wait for this batch');
      for (let entry = batch.first; entry; entry = entry.next) this.#reject(entry, error);
    }
  };
}

const enum Place {
  Nowhere,
  Door,
  Line,
  Batch,
  Gone,
}

/** One input and its caller. All fields are set from the beginning, so that entries share one shape. */
class Entry<Input> implements Linked<Entry<Input>> {
  next: Entry<Input> | undefined = undefined;
  previous: Entry<Input> | undefined = undefined;
  place: Place = Place.Nowhere;
  /** When it came; undefined for one that was refused. */
  turn: Turn | undefined = undefined;
  /** Who else must know that it has ended: the caller's timer and signal, a drain. */
  onLeave: (() => void) | undefined = undefined;

  constructor(
    readonly input: Input,
    readonly resolve: (result: unknown) => void,
    readonly reject: (error: unknown) => void,
  ) {}
}

/** Inputs that travel together: a chain of entries, linked by `next`. */
class Batch<Input> {
  readonly inputs: Input[] = [];
  readonly oldest: number;
  results = 0;

  constructor(
    readonly first: Entry<Input> | undefined,
    readonly reason: DispatchReason,
    readonly leftAt: number,
  ) {
    this.oldest = first?.turn?.at ?? leftAt;
  }
}

/**
 * One turn of the event loop. Its inputs share one reading of the clock, and one object instead of a number each:
 * both cost as much as the rest of a submission.
 */
class Turn {
  /** Whether a drain waits for the inputs of this turn. */
  draining = false;

  constructor(readonly at: number) {}
}

class Counts {
  submitted = 0;
  results = 0;
  errors = 0;
  running = 0;
  readonly drops: Record<DropReason, number> = { aborted: 0, timeout: 0, full: 0, stopped: 0 };
  readonly dispatches: Record<DispatchReason, number> = { size: 0, delay: 0, idle: 0, drain: 0 };
}

let resolver: (result: unknown) => void;
let rejecter: (error: unknown) => void;

/** One executor for all promises: a closure per input would cost more than the queue's own work on it. */
function takeSettlers(resolve: (result: unknown) => void, reject: (error: unknown) => void): void {
  resolver = resolve;
  rejecter = reject;
}

function checkSubmitOptions({ signal, timeout }: SubmitOptions): void {
  if (timeout !== undefined) checkMilliseconds('timeout', timeout);
  // By shape, as an `instanceof` would refuse the signals of another realm.
  if (
    signal !== undefined &&
    typeof (signal as Partial<AbortSignal> | null)?.addEventListener !== 'function'
  ) {
    throw new TypeError(`signal: expected an AbortSignal, got ${show(signal)}`);
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve };
}

function both(first: (() => void) | undefined, second: () => void): () => void {
  return () => {
    first?.();
    second();
  };
}

/** Errors of another realm (a vm context, Jest) are no `instanceof Error` here. */
function isError(value: unknown): value is Error {
  return typeof value === 'object' && (value instanceof Error || types.isNativeError(value));
}
