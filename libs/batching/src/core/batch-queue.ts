import { Admission } from './admission.js';
import { Batch } from './batch.js';
import type { BatchFunction } from './batch-function.js';
import { checkMilliseconds, functionName, show } from './checks.js';
import { type Clock, LONGEST_TIMER, processClock } from './clock.js';
import { createPolicy, type Departure, type View } from './dispatch/decide.js';
import { Dispatcher } from './dispatch/dispatcher.js';
import { untilSlot } from './dispatch/forecast.js';
import { Drains } from './drains.js';
import { Entry, takenResolver, takeResolver } from './entry.js';
import { ServiceStoppedError } from './errors.js';
import { Ledger } from './ledger.js';
import {
  type BatchOptions,
  checkOption,
  publicOptions,
  type ResolvedOptions,
  resolveOptions,
  type StopOptions,
  type SubmitOptions,
} from './options.js';
import { inLayers } from './run/layers.js';
import { RunningBatches } from './running-batches.js';
import type { BatchReport, QueueState, QueueStats } from './stats.js';
import { Turns } from './turns.js';
import type { Group } from './waiting/group.js';

/**
 * Takes inputs one at a time, runs them through the batch function in batches, and gives every caller its own result.
 * What it promises, law by law, is docs/contract.md.
 *
 * An input's way, in the order of this file: `submit` → `#decide` → `#leave` → `#run` → `#end`.
 */
export class BatchQueue<Input, Result> {
  readonly #options: ResolvedOptions<Input>;
  readonly #clock: Clock;
  #state: QueueState = 'created';

  /** Who comes in. */
  readonly #admission: Admission<Input>;
  /** When the queue looks at what waits. */
  readonly #turns: Turns;
  readonly #drains = new Drains();
  /** When a batch leaves. */
  readonly #dispatcher: Dispatcher;
  readonly #running: RunningBatches<Input>;
  /** The batch function in its layers. */
  readonly #layers: ReturnType<typeof inLayers<Input, Result>>;
  readonly #ledger: Ledger;

  /**
   * @param batchFunction turns the inputs of a batch into their results
   * @param clock the time that the queue lives by; for simulations
   * @throws TypeError or RangeError for options that make no sense, with what was expected and what was given
   */
  constructor(
    batchFunction: BatchFunction<Input, Result>,
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
    this.#ledger = new Ledger(name, waiting);
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

  get name(): string {
    return this.#options.name;
  }

  /** Most inputs in one batch. May be set at any time; the next decision uses it. */
  get batchSize(): number {
    return this.#options.batchSize;
  }
  set batchSize(value: number) {
    this.#options.batchSize = checkOption('batchSize', value);
    this.#decideSoon();
  }

  /** Longest wait with a free slot, in milliseconds. May be set at any time; the next decision uses it. */
  get maxDelay(): number {
    return this.#options.maxDelay;
  }
  set maxDelay(value: number) {
    this.#options.maxDelay = checkOption('maxDelay', value);
    this.#decideSoon();
  }

  /** Batches that may run at the same time. May be set at any time; running ones are not stopped. */
  get concurrency(): number {
    return this.#options.concurrency;
  }
  set concurrency(value: number) {
    this.#options.concurrency = checkOption('concurrency', value);
    this.#decideSoon();
  }

  /** Inputs that may wait. May be set at any time; a lower bound drops no input, it only refuses the next. */
  get maxQueued(): number {
    return this.#options.maxQueued;
  }
  set maxQueued(value: number) {
    this.#options.maxQueued = checkOption('maxQueued', value);
    this.#admission.letIn();
    this.#decideSoon();
  }

  /**
   * Takes in one input; never throws.
   *
   * @returns a promise of the input's own result. It rejects with the batch function's error, with `signal.reason`, or
   *   with a `QueueFullError`, `DeadlineError`, `InputCostError`, `ServiceStoppedError`, `BatchTimeoutError` or
   *   `BatchResultError`.
   */
  submit(input: Input, options?: SubmitOptions): Promise<Result> {
    const promise = new Promise<unknown>(takeResolver) as Promise<Result>;
    this.#admission.admit(new Entry(input, this.#turns.begin(), takenResolver), options);
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
    const seemTooMany = this.#admission.seemTooMany(inputs, options);
    const all = Array.from(inputs);
    const error = seemTooMany ? this.#admission.refuseTooMany(all) : undefined;
    return all.map((input) => (error ? Promise.reject<Result>(error) : this.submit(input, options)));
  }

  /**
   * Lets batches leave, for a queue built with `autoStart: false`.
   *
   * @throws ServiceStoppedError after a stop
   */
  start(): void {
    if (this.#state === 'stopping' || this.#state === 'stopped') throw new ServiceStoppedError(this.name);
    this.#state = 'started';
    this.#decideSoon();
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
    // Inputs that come from here on are not drained.
    this.#turns.close();
    this.#decideSoon();
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
    // Of a batch that hangs only its slot of the lane is still of interest: nothing to keep the process alive for.
    this.#layers.timeLimit.unref();
  }

  /**
   * Calls `listener` after every batch. What it throws, or rejects with, becomes a process warning and affects no caller.
   *
   * @returns a function that ends the calls
   */
  onBatch(listener: (report: BatchReport) => void): () => void {
    return this.#ledger.onBatch(listener);
  }

  stats(): QueueStats {
    return {
      name: this.name,
      state: this.#state,
      options: publicOptions(this.#options),
      ...this.#ledger.stats(this.#clock.now()),
      blocked: this.#admission.blocked,
      runningBatches: this.#running.all.size,
    };
  }

  /** Has `#decide` called in this turn, if something waits. */
  #decideSoon(): void {
    if (this.#admission.room.length > 0) this.#turns.begin();
  }

  /** The one place where batches leave: if a slot is free and there is a reason, one does; else the alarm is set. */
  readonly #decide = (now: number, since: number): void => {
    const { entered } = this.#ledger;
    this.#dispatcher.arrive(entered, this.#admission.room.length, this.#running.hasSlot, now, since);
    const view = this.#view(now);
    const decision = view && this.#dispatcher.decide(view, now);
    if (decision && 'group' in decision) {
      this.#leave(decision, now);
      return;
    }
    this.#running.withdraw(now);
    if (decision) this.#turns.wakeAt(decision.at, now);
  };

  /** What the decision depends on, while there is one to take. */
  #view(now: number): View<Group<Entry<Input>>> | undefined {
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

  /** Sends a batch off, if the lane has a slot; else it is tried again when it has. */
  #leave({ group, reason }: Departure<Group<Entry<Input>>>, now: number): void {
    if (!this.#running.tryEnter(now)) return;
    const batch = new Batch(this.#admission.take(group), reason, now, this.#ledger);
    this.#dispatcher.leave(batch.size, now);
    this.#running.start(batch, now);
    this.#ledger.leave(batch, now);
    this.#admission.letIn();
    if (this.#admission.room.length === 0) this.#clearAlarms();
    // One batch per turn: the batch function may block the loop, then the sockets are read before the next.
    this.#decideSoon();
    void this.#run(batch);
  }

  /** The one failure path: whatever broke, every caller of the batch gets an end, and its slot is free again. */
  async #run(batch: Batch<Input>): Promise<void> {
    try {
      const late = batch.settle(await this.#layers.run(batch.inputs, batch));
      if (late) await late;
    } catch (error) {
      batch.reject(error);
    }
    this.#end(batch);
  }

  #end(batch: Batch<Input>): void {
    const now = this.#clock.now();
    const ran = now - batch.leftAt;
    this.#running.end(batch, ran, now);
    this.#dispatcher.end(batch.size, ran, now);
    this.#ledger.end(batch, ran, now);
    // A full batch gains nothing from another look at the sockets, but they shall not wait for a long backlog.
    const { polledAt } = this.#turns;
    if (this.#admission.room.length >= this.batchSize && now - polledAt < 1) this.#decide(now, polledAt);
    else this.#decideSoon();
  }

  /** The time limit of a stop is over: waits for nothing any more. */
  readonly #abandon = (): void => {
    this.#admission.dropAll();
    for (const batch of this.#running.all) {
      const error = new ServiceStoppedError(this.name, 'did not wait for this batch');
      batch.reject(error);
      batch.abort(error);
    }
  };

  /** Another clock has come, as in a test. */
  readonly #changeClock = (now: number): void => {
    this.#running.clearAlarm();
    this.#admission.changeClock(now);
    this.#layers.timeLimit.restart(now);
  };

  /** There are no alarms while nothing waits. */
  readonly #clearAlarms = (): void => {
    this.#turns.clearAlarm();
    this.#running.clearAlarm();
  };
}
