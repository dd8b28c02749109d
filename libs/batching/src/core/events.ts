import { channel } from 'node:diagnostics_channel';
import type { BatchQueue } from './batch-queue.js';
import type { DispatchReason } from './dispatch/dispatch-policy.js';
import type { BatchReport } from './stats.js';

// The events of all queues of the process, published on channels of `node:diagnostics_channel`; docs/events.md
// describes them. While a channel has no subscriber, its events are not made.

/** An input was submitted: published in the async context of its caller, before the input is taken in or refused. */
const inputSubmit = channel('nest-batching:input:submit');
/** An input has ended; its caller's promise is settled next. For inputs whose submission was published. */
const inputEnd = channel('nest-batching:input:end');
/** A batch leaves; its function is called next. */
const batchStart = channel('nest-batching:batch:start');
/** A batch has ended. */
const batchEnd = channel('nest-batching:batch:end');

type AnyQueue = BatchQueue<unknown, unknown>;

/** One input, as a message: the same object in all its events. */
export interface InputEvent {
  readonly queue: AnyQueue;
  /** Whether it ran, alone or with others that asked for the same (`coalesce`). */
  readonly ran: boolean;
  /** How it ended; `dropped` if it never ran, `undefined` before it has ended. */
  readonly outcome: 'result' | 'error' | 'dropped' | undefined;
  /** Whether its caller gave it up by its signal, which is no failure. */
  readonly aborted: boolean;
  /** What its caller's promise rejects with. */
  readonly error: unknown;
}

/** One batch, as a message: the same object in all its events. */
export interface BatchEvent {
  readonly queue: AnyQueue;
  /**
   * Its number among the batches of its queue, from 1, in the order in which they left; the dashboard's timeline
   * knows it by this number too.
   */
  readonly number: number;
  readonly reason: DispatchReason;
  /** Number of its inputs. */
  readonly size: number;
  /** Milliseconds that each of its inputs has waited. */
  readonly waits: readonly number[];
  /** Its inputs whose submission was published, each with all its callers. */
  readonly inputs: readonly InputEvent[];
  /** Set when it has ended. */
  readonly report: BatchReport | undefined;
  /**
   * For a subscriber of `batch:start`, while it is called: has the batch function called within `wrapper`, as
   * in an async context. What the wrapper returns must be what `run` returned.
   */
  wrapRun(wrapper: <T>(run: () => T) => T): void;
}

/** What an input and a batch have that their events are made of. */
interface Entry {
  readonly turn: { readonly at: number };
  readonly resolve: (outcome: unknown) => void;
}

type Departed = Pick<BatchEvent, 'number' | 'reason'> & { readonly leftAt: number };

class WatchedInput implements InputEvent {
  ran = false;
  aborted = false;
  outcome: InputEvent['outcome'] = undefined;
  error: unknown = undefined;

  constructor(readonly queue: AnyQueue) {}
}

class WatchedBatch implements BatchEvent {
  report: BatchReport | undefined = undefined;
  readonly number: number;
  readonly reason: DispatchReason;
  readonly #entries: readonly Entry[];
  readonly #leftAt: number;
  #run: <T>(run: () => T) => T = (run) => run();

  constructor(
    readonly queue: AnyQueue,
    { number, reason, leftAt }: Departed,
    entries: readonly Entry[],
    readonly inputs: readonly InputEvent[],
  ) {
    this.number = number;
    this.reason = reason;
    this.#entries = entries;
    this.#leftAt = leftAt;
  }

  get size(): number {
    return this.#entries.length;
  }

  get waits(): readonly number[] {
    return this.#entries.map(({ turn }) => this.#leftAt - turn.at);
  }

  wrapRun(wrapper: <T>(run: () => T) => T): void {
    const inner = this.#run;
    this.#run = (run) => wrapper(() => inner(run));
  }

  run<T>(run: () => T): T {
    return this.#run(run);
  }
}

export type { WatchedBatch };

/** The events of watched inputs, by the function that settles each. */
const watched = new WeakMap<Entry['resolve'], WatchedInput>();

/**
 * Publishes a submission. Call it only while `isSubmitWatched()`.
 *
 * @param isRejection whether an outcome is an error
 * @returns a function to settle the input with, instead of `resolve`
 */
export function watchInput(
  queue: AnyQueue,
  resolve: Entry['resolve'],
  isRejection: (outcome: unknown) => outcome is { readonly error: unknown },
): Entry['resolve'] {
  const input = new WatchedInput(queue);
  const settle = (outcome: unknown): void => {
    const isError = isRejection(outcome);
    if (isError) input.error = outcome.error;
    input.outcome = isError ? (input.ran ? 'error' : 'dropped') : 'result';
    inputEnd.publish(input);
    resolve(outcome);
  };
  watched.set(settle, input);
  inputSubmit.publish(input);
  return settle;
}

/** Whether inputs that are submitted now are to be watched. The only thing that an unwatched input costs. */
export function isSubmitWatched(): boolean {
  return inputSubmit.hasSubscribers;
}

/** Notes that the input of this caller runs. */
export function markRunning({ resolve }: Entry): void {
  const input = watched.get(resolve);
  if (input) input.ran = true;
}

/** Notes that the caller of this input gives it up. */
export function markAborted({ resolve }: Entry): void {
  const input = watched.get(resolve);
  if (input) input.aborted = true;
}

/** Whether batches that leave now are to be watched. */
export function areBatchesWatched(): boolean {
  return inputSubmit.hasSubscribers || batchStart.hasSubscribers || batchEnd.hasSubscribers;
}

/**
 * Publishes that a batch leaves.
 *
 * @param callersOf returns the entries of all callers of an entry
 */
export function watchBatch<E extends Entry>(
  queue: AnyQueue,
  batch: Iterable<E> & Departed,
  callersOf: (entry: E) => Iterable<Entry>,
): WatchedBatch {
  const entries = [...batch];
  const inputs = entries
    .flatMap((entry) => [...callersOf(entry)])
    .flatMap(({ resolve }) => watched.get(resolve) ?? []);
  for (const input of inputs) input.ran = true;
  const event = new WatchedBatch(queue, batch, entries, inputs);
  batchStart.publish(event);
  return event;
}

/** Publishes that a batch has ended. */
export function endBatch(event: WatchedBatch, report: BatchReport): void {
  event.report = report;
  batchEnd.publish(event);
}
