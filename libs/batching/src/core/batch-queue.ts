import { Admission } from './admission.js';
import { Batch } from './batch.js';
import type { BatchFunction, KeyedBatchFunction } from './batch-function.js';
import { checkMilliseconds, functionName, show } from './checks.js';
import { type Clock, LONGEST_TIMER, processClock } from './clock.js';
import type { Totals } from './distribution.js';
import { createPolicy, type Departure, type Snapshot } from './dispatch/decide.js';
import { Dispatcher } from './dispatch/dispatcher.js';
import type { Dispatch } from './dispatch/dispatch-policy.js';
import { untilSlot } from './dispatch/forecast.js';
import { Drains } from './drains.js';
import { Entry, isRejection } from './entry.js';
import { ServiceStoppedError } from './errors.js';
import { areBatchesWatched, isSubmitWatched, watchBatch, watchInput } from './events.js';
import { Ledger } from './ledger.js';
import {
  type BatchOptions,
  checkOption,
  type KeyedBatchOptions,
  publicOptions,
  type ResolvedOptions,
  resolveOptions,
  type StopOptions,
  type SubmitOptions,
} from './options.js';
import { inLayers } from './run/layers.js';
import { RunningBatches } from './running-batches.js';
import type { BatchReport, Measure, QueueState, QueueStats } from './stats.js';
import { ignoreRejections } from './thenable.js';
import { Turns } from './turns.js';
import type { Group } from './waiting/group.js';
import type { BatchObserver } from './watch.js';

type AnyQueue = BatchQueue<unknown, unknown>;

/** Milliseconds from which on a run without a look between is taken to have blocked the event loop. */
const BLOCKED = 1;

/**
 * Takes inputs one at a time, runs them through the batch function in batches, and gives every caller its own
 * result. docs/contract.md lists what it guarantees.
 *
 * The way of an input, in the order of this file: `submit` → `#decide` → `#leave` → `#run` → `#end`.
 */
export class BatchQueue<Input, Result> {
  /** @internal Whether settings of batches have a meaning: not where calls run one at a time, or on other nodes. */
  readonly hasBatches: boolean = true;
  readonly #options: ResolvedOptions<Input>;
  readonly #clock: Clock;
  #state: QueueState = 'created';

  /** Which inputs are taken in. */
  readonly #admission: Admission<Input>;
  /** When the queue looks at what waits. */
  readonly #turns: Turns;
  readonly #drains = new Drains();
  /** When a batch leaves. */
  readonly #dispatcher: Dispatcher;
  readonly #running: RunningBatches<Input>;
  /** The batch function, wrapped for checks, `runTimeout` and `isolateErrors`. */
  readonly #layers: ReturnType<typeof inLayers<Input, Result>>;
  readonly #ledger: Ledger;
  /** While the sockets are read after a batch that blocked the event loop: when it left. */
  #blockedSince: number | undefined;

  /**
   * @param batchFunction turns the inputs of a batch into their results; with `keyBy` it may return a `Map`
   *   from keys to results
   * @param options settings; `batchSize` and `maxDelay` are required
   * @param clock source of time, for simulations; default: the process's clock
   * @throws TypeError or RangeError for an invalid option; the message says what was expected and what was
   *   given
   */
  constructor(batchFunction: BatchFunction<Input, Result>, options: BatchOptions<Input>, clock?: Clock);
  constructor(
    batchFunction: KeyedBatchFunction<Input, Result>,
    options: KeyedBatchOptions<Input, Result>,
    clock?: Clock,
  );
  constructor(
    batchFunction: KeyedBatchFunction<Input, Result>,
    options: BatchOptions<Input>,
    clock: Clock = processClock,
  ) {
    if (typeof batchFunction !== 'function') {
      throw new TypeError(`batchFunction: expected a function, got ${show(batchFunction)}`);
    }
    this.#options = resolveOptions(options, functionName(batchFunction, 'batch queue'));
    const { name, dispatch, autoStart } = this.#options;
    const waiting = (): number => this.#admission.room.length;
    this.#clock = clock;
    this.#dispatcher = new Dispatcher(createPolicy(dispatch));
    this.#layers = inLayers(batchFunction, this.#options, clock);
    this.#ledger = new Ledger(name, waiting, () => this.#admission.joined);
    this.#turns = new Turns(clock, this.#drains, this.#decide, this.#changeClock);
    const retry = (): void => void this.#turns.begin();
    this.#running = new RunningBatches(this.#options, waiting, retry, clock);
    this.#admission = new Admission(this.#options, {
      clock,
      turns: this.#turns,
      ledger: this.#ledger,
      serviceTime: this.#dispatcher.serviceTime,
      running: this.#running.all,
      onEmpty: this.#clearAlarms,
    });
    if (autoStart) this.start();
  }

  /** Name of the queue in errors, stats and logs. */
  get name(): string {
    return this.#options.name;
  }

  /**
   * Most inputs in one batch: an integer ≥ 1, or `Infinity`. May be set at any time; the next decision uses
   * it.
   *
   * @throws TypeError or RangeError for any other value
   */
  get batchSize(): number {
    return this.#options.batchSize;
  }
  set batchSize(value: number) {
    this.#options.batchSize = checkOption('batchSize', value);
    this.#decideSoon();
  }

  /**
   * Longest wait with a free slot, in milliseconds: ≥ 0, or `Infinity`. May be set at any time; the next
   * decision uses it, for inputs that wait already too.
   *
   * @throws TypeError or RangeError for any other value
   */
  get maxDelay(): number {
    return this.#options.maxDelay;
  }
  set maxDelay(value: number) {
    this.#options.maxDelay = checkOption('maxDelay', value);
    this.#decideSoon();
  }

  /**
   * Batches that may run at the same time: an integer ≥ 1, or `Infinity`. May be set at any time; batches
   * that run are not stopped.
   *
   * @throws TypeError or RangeError for any other value
   */
  get concurrency(): number {
    return this.#options.concurrency;
  }
  set concurrency(value: number) {
    this.#options.concurrency = checkOption('concurrency', value);
    this.#decideSoon();
  }

  /**
   * Inputs that may wait: an integer ≥ 1, or `Infinity`; setting 0 means `Infinity`. May be set at any time;
   * a lower bound drops no input that waits already.
   *
   * @throws TypeError or RangeError for any other value
   */
  get maxQueued(): number {
    return this.#options.maxQueued;
  }
  set maxQueued(value: number) {
    this.#options.maxQueued = checkOption('maxQueued', value);
    this.#admission.letIn();
    this.#decideSoon();
  }

  /** @internal Of the `errors` of `stats`, inputs whose callers gave them up by their signals: no failures. */
  get abortedWhileRunning(): number {
    return this.#ledger.abortedWhileRunning;
  }

  /** Inputs that wait now. */
  get waiting(): number {
    return this.#admission.room.length;
  }

  /**
   * Submits one input. Never throws: every error rejects the promise.
   *
   * @returns a promise of the input's own result. It rejects with the batch function's error, with what
   *   `cost` or `groupBy` throws, with `signal.reason`, with a `QueueFullError`, `DeadlineError`,
   *   `InputCostError`, `ServiceStoppedError`, `BatchTimeoutError` or `BatchResultError`, or with a
   *   `TypeError` or `RangeError` for invalid options
   */
  submit(input: Input, options?: SubmitOptions): Promise<Result> {
    // V8 inlines an executor that does no more, and neither it nor the variable is allocated.
    let resolve!: (result: unknown) => void;
    const promise = new Promise<unknown>((taken) => (resolve = taken)) as Promise<Result>;
    const settle = isSubmitWatched() ? watchInput(this as AnyQueue, resolve, isRejection) : resolve;
    this.#admission.admit(new Entry(input, this.#turns.begin(), settle), options);
    return promise;
  }

  /**
   * Submits many inputs at once; no other call comes between them.
   *
   * More than `maxQueued` inputs could never wait together. If their number is known in advance (an array, a
   * `Set`, anything with a `length` or a `size`), none of them is taken in, and every promise rejects with a
   * `TooManyInputsError`. With `onFull: 'wait'` they pass through the queue in parts instead.
   *
   * @param options apply to every input
   * @returns one promise per input, in their order; each rejects as that of `submit` does
   * @throws what iterating over the inputs throws; then none of them is taken in
   */
  submitMany(inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[] {
    const seemTooMany = this.#admission.seemTooMany(inputs, options);
    const all = Array.from(inputs);
    const error = seemTooMany ? this.#admission.refuseTooMany(all) : undefined;
    return all.map((input) => (error ? Promise.reject<Result>(error) : this.submit(input, options)));
  }

  /**
   * Lets batches leave, for a queue built with `autoStart: false`. Does nothing on a queue that has started.
   *
   * @throws ServiceStoppedError after `stop` was called
   */
  start(): void {
    if (this.#state === 'stopping' || this.#state === 'stopped') throw new ServiceStoppedError(this.name);
    this.#state = 'started';
    this.#decideSoon();
  }

  /**
   * Lets the inputs that wait leave without further delay. The queue goes on taking inputs; later ones may
   * fill up the batches of a drain.
   *
   * @returns a promise that resolves when every input submitted before this call has ended; on a queue that
   *   has not been started, not before `start` is called. It never rejects.
   */
  drain(): Promise<void> {
    const drained = this.#drains.drain();
    // Inputs submitted from now on do not belong to this drain.
    this.#turns.close();
    this.#decideSoon();
    return drained;
  }

  /**
   * Takes no more inputs, runs those it has (even if it was never started) and stops. May be called again
   * while a stop is under way, for example with `hard` or a shorter `timeout`.
   *
   * @returns a promise that resolves when every input has ended; it rejects with a TypeError or RangeError
   *   for an invalid `timeout`
   */
  async stop({ timeout = Infinity, hard = false }: StopOptions = {}): Promise<void> {
    const limit = checkMilliseconds('timeout', timeout);
    if (this.#state !== 'stopped') this.#state = 'stopping';
    this.#admission.close();
    if (hard) {
      this.#admission.dropAll();
      for (const batch of this.#running.all) batch.abort(new ServiceStoppedError(this.name));
    }
    const { setTimeout, clearTimeout } = this.#clock;
    const timer = limit <= LONGEST_TIMER ? setTimeout(this.#abandon, limit) : undefined;
    await this.drain();
    if (timer !== undefined) clearTimeout(timer);
    this.#state = 'stopped';
    // A batch that hangs now holds at most a slot of the lane, which is no reason to keep the process alive.
    this.#layers.timeLimit.unref();
  }

  /**
   * Calls `listener` after every batch. An error that it throws or rejects with is reported with
   * `process.emitWarning` and affects no caller.
   *
   * @returns a function that removes the listener
   * @throws TypeError if `listener` is not a function
   */
  onBatch(listener: (report: BatchReport) => void): () => void {
    return this.#ledger.onBatch(listener);
  }

  /**
   * @internal Shows the observer every batch when it leaves and when it ends, beginning with those that run
   *   now.
   * @returns a function that removes the observer
   */
  watch(observer: BatchObserver): () => void {
    for (const batch of this.#running.all) observer.left(batch);
    return this.#ledger.watch(observer);
  }

  /**
   * @internal Changes `dispatch`; the next decision uses it. `adaptive` then begins to learn anew. No setter, as
   *   `ManualQueue` has a method of that name.
   * @throws TypeError or RangeError for any other value
   */
  setDispatch(value: Dispatch): void {
    const dispatch = checkOption('dispatch', value);
    if (dispatch === this.#options.dispatch) return;
    this.#options.dispatch = dispatch;
    this.#dispatcher.policy = createPolicy(dispatch);
    this.#decideSoon();
  }

  /** @returns settings, counts and recent distributions at this moment; a copy that does not change */
  stats(): QueueStats {
    return {
      name: this.name,
      state: this.#state,
      options: publicOptions(this.#options),
      ...this.#ledger.stats(this.#clock.now()),
      blocked: this.#admission.blocked + this.#admission.joined.blocked,
      runningBatches: this.#running.all.size,
    };
  }

  /**
   * Counts all values since the queue was built; `stats` has those of the last one to two minutes.
   *
   * @param bounds upper bounds, ascending, of inputs or milliseconds; for each, values up to it are counted,
   *   and possibly some of up to 3 % more
   */
  totals(of: Measure, bounds: readonly number[]): Totals {
    return this.#ledger.totals(of, bounds);
  }

  /** Calls `#decide` later in this turn of the event loop, if inputs wait. */
  #decideSoon(): void {
    if (this.#admission.room.length > 0) this.#turns.begin();
  }

  /**
   * The one place where batches leave: one does if a slot is free and there is a reason; else the alarm is
   * set.
   */
  readonly #decide = (now: number): void => {
    const { entered } = this.#ledger;
    this.#dispatcher.arrive(
      entered,
      this.#admission.room.length,
      this.#running.hasSlot,
      now,
      this.#blockedSince ?? now,
    );
    const snapshot = this.#snapshot(now);
    const decision = snapshot && this.#dispatcher.decide(snapshot, now);
    if (decision && 'group' in decision) {
      this.#leave(decision, now);
      return;
    }
    this.#running.withdraw(now);
    if (decision) this.#turns.wakeAt(decision.at, now);
  };

  /**
   * What a decision depends on; `undefined` if there is none to take: no free slot, not started, or none
   * waits.
   */
  #snapshot(now: number): Snapshot<Group<Entry<Input>>> | undefined {
    if (!this.#running.hasSlot || this.#state === 'created') return undefined;
    const next = this.#admission.next();
    if (!next) return undefined;
    const { group, isFull, oldest } = next;
    const { batchSize, maxDelay, concurrency } = this.#options;
    const { serviceTime } = this.#dispatcher;
    const waiting = group.length;
    return {
      group,
      isFull,
      isDraining: oldest.epoch.isDraining,
      reached: this.#turns.reached(now),
      batchSize,
      maxDelay,
      waiting,
      others: this.#admission.room.length - waiting,
      oldest: oldest.at,
      serviceTime: (size) => serviceTime.of(size),
      untilOtherSlot: untilSlot(this.#running.all, concurrency - 1, serviceTime, now),
    };
  }

  /** Starts a batch if the lane has a slot; else the lane calls back when it has. */
  #leave({ group, reason }: Departure<Group<Entry<Input>>>, now: number): void {
    if (!this.#running.tryAcquireSlot(now)) return;
    const batch = new Batch(this.#admission.take(group), reason, now, this.#ledger);
    this.#dispatcher.leave(batch.size, now);
    this.#running.start(batch, now);
    this.#ledger.leave(batch, now);
    this.#admission.letIn();
    if (this.#admission.room.length === 0) this.#clearAlarms();
    // One batch per turn: if the batch function blocks the event loop, the sockets are read before the next
    // batch. A look that has not come when the function has ended shows that it blocked.
    if (this.#dispatcher.looksBeforeAnswers) this.#turns.begin();
    else this.#decideSoon();
    if (areBatchesWatched()) {
      batch.event = watchBatch(this as AnyQueue, batch, (entry) => this.#admission.callersOf(entry));
    }
    void this.#run(batch);
  }

  /**
   * The one failure path: whatever fails, every caller of the batch gets a result or an error, and its slot
   * is freed.
   */
  async #run(batch: Batch<Input>): Promise<void> {
    try {
      const results = await (batch.event
        ? batch.event.run(() => this.#layers.run(batch.inputs, batch))
        : this.#layers.run(batch.inputs, batch));
      if (this.#hasBlocked(batch)) await this.#look(batch, results);
      const late = batch.settle(results);
      if (late) await late;
    } catch (error) {
      batch.reject(error);
    }
    this.#end(batch);
  }

  /** Whether the batch blocked the event loop; then it ends now. */
  #hasBlocked(batch: Batch<Input>): boolean {
    if (!this.#dispatcher.looksBeforeAnswers || this.#turns.polledAt > batch.leftAt) return false;
    const now = this.#clock.now();
    if (now - batch.leftAt < BLOCKED) return false;
    batch.ranUntil = now;
    return true;
  }

  /** Reads the sockets before the callers of a batch that blocked the event loop are answered. */
  async #look(batch: Batch<Input>, results: ArrayLike<unknown>): Promise<void> {
    this.#blockedSince = batch.leftAt;
    ignoreRejections(results);
    // Inputs that are read now have not waited for it.
    this.#turns.close();
    await this.#turns.nextLook();
    this.#blockedSince = undefined;
  }

  #end(batch: Batch<Input>): void {
    const now = batch.ranUntil ?? this.#clock.now();
    const ran = now - batch.leftAt;
    this.#running.end(batch, ran, now);
    this.#dispatcher.end(batch.size, ran, now);
    this.#ledger.end(batch, ran, now);
    // The function may have blocked the event loop; the inputs that the answered callers submit have not waited for it.
    if (ran >= BLOCKED) this.#turns.close();
    // A full batch need not wait for another poll phase, but a long backlog must not keep the sockets unread, nor a
    // function that blocks the event loop the answers of its last batch.
    const isPolled = now - this.#turns.polledAt < 1 && batch.ranUntil === undefined;
    if (isPolled && this.#admission.room.length >= this.batchSize) this.#decide(now);
    else this.#decideSoon();
  }

  /** The time limit of a stop has expired: rejects everything that is left. */
  readonly #abandon = (): void => {
    this.#admission.dropAll();
    for (const batch of this.#running.all) {
      const error = new ServiceStoppedError(this.name, 'did not wait for this batch');
      batch.reject(error);
      batch.abort(error);
    }
  };

  /** The clock was replaced or set back, as tests do. */
  readonly #changeClock = (now: number): void => {
    this.#running.clearAlarm();
    this.#admission.changeClock(now);
    this.#layers.timeLimit.restart(now);
  };

  readonly #clearAlarms = (): void => {
    this.#turns.clearAlarm();
    this.#running.clearAlarm();
  };
}
