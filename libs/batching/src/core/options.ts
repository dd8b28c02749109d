import type { BatchContext } from './batch.js';
import type { Dispatch } from './dispatch-policy.js';
import type { Lane } from './lane.js';

/**
 * Turns the inputs of one batch into their results: one result per input, in the same order, as an array or, if they are
 * numbers, as a typed array.
 *
 * An `Error` in a result's place rejects that caller alone; a thrown error rejects all callers of the batch, as it is.
 * A promise in a result's place is awaited as part of its batch: its caller gets what it resolves to as soon as it does,
 * or alone what it rejects with; the slot is free, and `runTimeout` met, when all have settled.
 *
 * The array of inputs is new for every batch and belongs to the function. A function that declares a second parameter
 * gets the batch's context: `batch.signal` aborts when nobody waits for the results any more.
 */
export type BatchFunction<Input, Result> = (
  inputs: Input[],
  batch: BatchContext,
) => PromiseLike<Results<Result>> | Results<Result>;

/** One result per input: an array, or a typed array of numbers. */
type Results<Result> = readonly InPlace<Result>[] | TypedArray<Result>;

/** By what an array does not have, so that the compiler learns nothing of the type of a result from that. */
export interface TypedArray<Element> {
  readonly BYTES_PER_ELEMENT: number;
  subarray(): ArrayLike<Element>;
}

/** What may stand in a result's place. */
type InPlace<Result> = Result | Error | PromiseLike<Result | Error>;

/** What can be told about a queue besides its batch size and its delay. */
export interface QueueOptions<Input = unknown> {
  /** Names the queue in errors, stats and logs. Default: the name of the batch function. */
  name?: string;
  /**
   * When a batch that is not full leaves, once a slot is free. `adaptive`: when waiting longer would cost those who
   * wait more than it saves, as learned from the traffic. `fixed`: when its oldest input has waited `maxDelay`, as in
   * the reference. `eager`: at once. Default: `adaptive`.
   */
  dispatch?: Dispatch;
  /** Batches that may run at the same time. Default 1; an integer ≥ 1, or `Infinity`. */
  concurrency?: number;
  /** Slots shared with other queues, where several use one device. Default: none, `concurrency` alone counts. */
  lane?: Lane | undefined;
  /**
   * What an input costs (tokens, pixels, bytes): a number ≥ 0, asked once, when it comes. What it throws, or a
   * `TypeError` for a promise, rejects that input alone. Default: nothing costs anything.
   */
  cost?(input: Input): number;
  /** Most that the inputs of one batch cost together; one that costs more by itself is refused. Default `Infinity`. */
  maxCost?: number;
  /** Most that all waiting inputs cost together. Default `Infinity`. */
  maxQueuedCost?: number;
  /**
   * Tells apart what may not share a batch (shape, options, model variant): only inputs with the same key, as in a
   * `Map`, travel together. What it throws, or a `TypeError` for a promise, rejects that input alone. Default: all
   * share.
   */
  groupBy?(input: Input): unknown;
  /** What one level of `priority` is worth, in milliseconds of waiting. Default 1000; ≥ 0. */
  aging?: number;
  /**
   * When a batch fails, run its halves, and theirs, to find the inputs at fault: only their callers get the error. One
   * culprit in n inputs costs at most 2 · log₂ n runs more, so the function has to bear being called again. Default
   * `false`.
   */
  isolateErrors?: boolean;
  /**
   * Longest that the batch function may take, in milliseconds. Then its callers get a `BatchTimeoutError`, its slot is
   * free again, and what it returns later is ignored. Default: no limit.
   */
  runTimeout?: number;
  /** Inputs that may wait at the same time; 0 or `Infinity` for no limit. Default 10,000; an integer ≥ 0. */
  maxQueued?: number;
  /**
   * What becomes of an input that finds the queue full. `reject`: it is refused with a `QueueFullError`.
   * `wait`: its caller waits for room, in order of arrival. Default: `reject`.
   */
  onFull?: 'reject' | 'wait';
  /** Whether batches leave from the beginning; `false`: only after `start()`. Default `true`. */
  autoStart?: boolean;
}

/** The settings of a queue. */
export interface BatchOptions<Input = unknown> extends QueueOptions<Input> {
  /** Most inputs in one batch: an integer ≥ 1, or `Infinity`. */
  batchSize: number;
  /**
   * Longest that an input waits for others while a slot is free, in milliseconds from its submission: ≥ 0, or
   * `Infinity`, under `fixed` to wait until the batch is full. Under `adaptive` it is a bound that is hardly ever met.
   */
  maxDelay: number;
}

/** What one caller can ask for. */
export interface SubmitOptions {
  /**
   * Gives up when it aborts; the promise rejects with `signal.reason`, or an `AbortError` where the signal has none. An
   * input that still waits is never computed.
   */
  signal?: AbortSignal | undefined;
  /**
   * Gives up after so many milliseconds, with a `BatchTimeoutError`. An input that could not make it, by the run times
   * learned, is refused at once with a `DeadlineError`. Default: never.
   */
  timeout?: number | undefined;
  /** Higher ones leave first; a level is worth `aging` milliseconds of waiting. Default 0; any finite number. */
  priority?: number | undefined;
  /** On whose behalf. Tenants take turns, so that one's flood slows the others no further than their share. */
  tenant?: unknown;
}

/** How to stop. */
export interface StopOptions {
  /** After so many milliseconds nothing is waited for any more: what is left is rejected. Default: no limit. */
  timeout?: number | undefined;
  /** Drop what waits instead of running it; batches that run are still waited for. Default `false`. */
  hard?: boolean | undefined;
}

/** The options of a queue, checked and complete. */
export type ResolvedOptions<Input = unknown> = Required<Omit<BatchOptions<Input>, Optional>> &
  Pick<BatchOptions<Input>, Optional>;

/** What has no default that could stand in for it. */
type Optional = 'lane' | 'cost' | 'groupBy';

/** Largest delay that a timer of Node can hold (a longer one would ring at once). */
export const LONGEST_TIMER = 2 ** 31 - 1;

export function resolveOptions<Input>(
  options: BatchOptions<Input>,
  defaultName: string,
): ResolvedOptions<Input> {
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw new TypeError(`options: expected an object with batchSize and maxDelay, got ${show(options)}`);
  }
  const { lane, cost, groupBy } = options as unknown as Record<string, unknown>;
  if (cost !== undefined) checkType('cost', 'function', cost);
  if (groupBy !== undefined) checkType('groupBy', 'function', groupBy);
  if (lane !== undefined && !isLane(lane)) {
    throw new TypeError(`lane: expected a Lane, got ${show(lane)}`);
  }
  return {
    ...options,
    name: checkType('name', 'string', options.name ?? defaultName),
    batchSize: checkBatchSize(options.batchSize),
    maxDelay: checkMilliseconds('maxDelay', options.maxDelay),
    dispatch: checkOneOf('dispatch', ['adaptive', 'fixed', 'eager'], options.dispatch ?? 'adaptive'),
    concurrency: checkConcurrency(options.concurrency ?? 1),
    maxCost: checkCost('maxCost', options.maxCost ?? Infinity),
    maxQueuedCost: checkCost('maxQueuedCost', options.maxQueuedCost ?? Infinity),
    aging: checkMilliseconds('aging', options.aging ?? 1000),
    maxQueued: checkMaxQueued(options.maxQueued ?? 10_000),
    onFull: checkOneOf('onFull', ['reject', 'wait'], options.onFull ?? 'reject'),
    isolateErrors: checkType('isolateErrors', 'boolean', options.isolateErrors ?? false),
    runTimeout: checkMilliseconds('runTimeout', options.runTimeout ?? Infinity),
    autoStart: checkType('autoStart', 'boolean', options.autoStart ?? true),
  };
}

export function checkSubmitOptions(
  signal: AbortSignal | undefined,
  timeout: number | undefined,
  priority: number | undefined,
): void {
  if (timeout !== undefined) checkMilliseconds('timeout', timeout);
  // By shape, as an `instanceof` would refuse the signals of another realm.
  if (
    signal !== undefined &&
    typeof (signal as Partial<AbortSignal> | null)?.addEventListener !== 'function'
  ) {
    throw new TypeError(`signal: expected an AbortSignal, got ${show(signal)}`);
  }
  if (priority !== undefined && !Number.isFinite(priority)) {
    throw new TypeError(`priority: expected a finite number, got ${show(priority)}`);
  }
}

export function checkBatchSize(value: number): number {
  return checkCount('batchSize', value, 1);
}

export function checkConcurrency(value: number): number {
  return checkCount('concurrency', value, 1);
}

/** 0 is the reference's word for no limit. */
export function checkMaxQueued(value: number): number {
  return checkCount('maxQueued', value, 0) || Infinity;
}

export function checkMilliseconds(name: string, value: number): number {
  if (typeof value !== 'number') {
    throw new TypeError(`${name}: expected a number of milliseconds, got ${show(value)}`);
  }
  if (!(value >= 0)) throw new RangeError(`${name}: expected milliseconds ≥ 0, got ${show(value)}`);
  return value;
}

export function checkCost(name: string, value: number): number {
  if (typeof value !== 'number') throw new TypeError(`${name}: expected a number ≥ 0, got ${show(value)}`);
  if (!(value >= 0)) throw new RangeError(`${name}: expected a number ≥ 0, got ${show(value)}`);
  return value;
}

function checkCount(name: string, value: number, least: number): number {
  const expected = `expected an integer ≥ ${least} or Infinity`;
  if (typeof value !== 'number') throw new TypeError(`${name}: ${expected}, got ${show(value)}`);
  if (value < least || !(Number.isSafeInteger(value) || value === Infinity)) {
    throw new RangeError(`${name}: ${expected}, got ${show(value)}`);
  }
  return value;
}

function checkOneOf<T extends string>(name: string, allowed: readonly T[], value: T): T {
  if (allowed.includes(value)) return value;
  const choices = allowed.map((choice) => `'${choice}'`).join(' or ');
  throw typeof value === 'string'
    ? new RangeError(`${name}: expected ${choices}, got ${show(value)}`)
    : new TypeError(`${name}: expected ${choices}, got ${show(value)}`);
}

function checkType<T>(name: string, type: 'string' | 'boolean' | 'function', value: T): T {
  if (typeof value === type) return value;
  throw new TypeError(`${name}: expected a ${type}, got ${show(value)}`);
}

/** By shape: the library may be loaded twice. */
function isLane(value: unknown): boolean {
  const { tryEnter, leave, withdraw, hasWaiting } = (value ?? {}) as Partial<Lane>;
  return [tryEnter, leave, withdraw, hasWaiting].every((method) => typeof method === 'function');
}

/** The name of a function, if it has one: a class may have a static `name` of any type. */
export function functionName({ name }: { readonly name: unknown }, otherwise: string): string {
  return typeof name === 'string' && name !== '' ? name : otherwise;
}

/** What was thrown, as it may stand in a message: anything can be thrown, also what has no text. */
export function showThrown(thrown: unknown): string {
  try {
    return String(thrown);
  } catch {
    return show(thrown);
  }
}

/** A value as it may stand in a message: short, and never throwing. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`;
  if (typeof value === 'function') return `a function`;
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    if (Array.isArray(value)) return `an array of ${value.length}`;
    const type = Object.prototype.toString.call(value).slice(8, -1).slice(0, 40);
    return `${/^[AEIOU]/.test(type) ? 'an' : 'a'} ${type}`;
  } catch {
    return 'an object';
  }
}
