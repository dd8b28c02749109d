import type { Dispatch } from './dispatch-policy.js';

/**
 * Turns the inputs of one batch into their results: one result per input, in the same order.
 *
 * An `Error` in a result's place rejects that caller alone; a thrown error rejects all callers of the batch, as it is.
 * The array is new for every batch and belongs to the function.
 */
export type BatchFunction<Input, Result> = (
  inputs: Input[],
) => PromiseLike<readonly (Result | Error)[]> | readonly (Result | Error)[];

/** What can be told about a queue besides its batch size and its delay. */
export interface QueueOptions {
  /** Names the queue in errors, stats and logs. Default: the name of the batch function. */
  name?: string;
  /**
   * When a batch that is not full leaves, once a slot is free. `fixed`: when its oldest input has waited `maxDelay`.
   * `eager`: at once. Default: `fixed`, as in the reference.
   */
  dispatch?: Dispatch;
  /** Batches that may run at the same time. Default 1; an integer ≥ 1. */
  concurrency?: number;
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
export interface BatchOptions extends QueueOptions {
  /** Most inputs in one batch: an integer ≥ 1, or `Infinity`. */
  batchSize: number;
  /**
   * Longest that an input waits for others while a slot is free, in milliseconds from its submission: ≥ 0, or
   * `Infinity` to wait until the batch is full.
   */
  maxDelay: number;
}

/** What one caller can ask for. */
export interface SubmitOptions {
  /** Gives up when it aborts; the promise rejects with `signal.reason`. An input that still waits is never computed. */
  signal?: AbortSignal | undefined;
  /** Gives up after so many milliseconds, with a `BatchTimeoutError`. Default: never. */
  timeout?: number | undefined;
}

/** How to stop. */
export interface StopOptions {
  /** After so many milliseconds nothing is waited for any more: what is left is rejected. Default: no limit. */
  timeout?: number | undefined;
  /** Drop what waits instead of running it; batches that run are still waited for. Default `false`. */
  hard?: boolean | undefined;
}

/** The options of a queue, checked and complete. */
export type ResolvedOptions = Required<BatchOptions>;

/** Largest delay that a timer of Node can hold (a longer one would ring at once). */
export const LONGEST_TIMER = 2 ** 31 - 1;

export function resolveOptions(options: BatchOptions, defaultName: string): ResolvedOptions {
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw new TypeError(`options: expected an object with batchSize and maxDelay, got ${show(options)}`);
  }
  const { name = defaultName, dispatch = 'fixed', onFull = 'reject', autoStart = true } = options;
  if (typeof name !== 'string') throw new TypeError(`name: expected a string, got ${show(name)}`);
  if (typeof autoStart !== 'boolean')
    throw new TypeError(`autoStart: expected a boolean, got ${show(autoStart)}`);
  return {
    name,
    batchSize: checkBatchSize(options.batchSize),
    maxDelay: checkMilliseconds('maxDelay', options.maxDelay),
    dispatch: checkOneOf('dispatch', ['fixed', 'eager'], dispatch),
    concurrency: checkConcurrency(options.concurrency ?? 1),
    maxQueued: checkMaxQueued(options.maxQueued ?? 10_000),
    onFull: checkOneOf('onFull', ['reject', 'wait'], onFull),
    autoStart,
  };
}

export function checkBatchSize(value: number): number {
  return checkCount('batchSize', value, 1, true);
}

export function checkConcurrency(value: number): number {
  return checkCount('concurrency', value, 1, false);
}

/** 0 is the reference's word for no limit. */
export function checkMaxQueued(value: number): number {
  return checkCount('maxQueued', value, 0, true) || Infinity;
}

export function checkMilliseconds(name: string, value: number): number {
  if (typeof value !== 'number') {
    throw new TypeError(`${name}: expected a number of milliseconds, got ${show(value)}`);
  }
  if (!(value >= 0)) throw new RangeError(`${name}: expected milliseconds ≥ 0, got ${show(value)}`);
  return value;
}

function checkCount(name: string, value: number, least: number, orInfinity: boolean): number {
  const expected = `expected an integer ≥ ${least}${orInfinity ? ' or Infinity' : ''}`;
  if (typeof value !== 'number') throw new TypeError(`${name}: ${expected}, got ${show(value)}`);
  if (value < least || !(Number.isSafeInteger(value) || (orInfinity && value === Infinity))) {
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

/** A value as it may stand in a message: short, and never throwing. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`;
  if (typeof value === 'function') return `a function`;
  if (typeof value !== 'object' || value === null) return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  const type = Object.prototype.toString.call(value).slice(8, -1);
  return `${/^[AEIOU]/.test(type) ? 'an' : 'a'} ${type}`;
}
