import {
  checkConcurrency,
  checkCost,
  checkCount,
  checkMilliseconds,
  checkOneOf,
  checkType,
  show,
} from './checks.js';
import type { Dispatch } from './dispatch/dispatch-policy.js';
import { type Lane, slotsOf } from './lane.js';

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
  if (lane !== undefined && !slotsOf(lane)) {
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

/** 0 is the word of the reference (docs/contract.md) for no limit. */
export function checkMaxQueued(value: number): number {
  return checkCount('maxQueued', value, 0) || Infinity;
}

/** What `stats` shows of the options. */
export type PublicOptions = Omit<ResolvedOptions, 'name' | 'autoStart' | Optional>;

/** The one list of the settings that are plain values: what `stats` shows and what an application may override by name. */
export const SETTINGS = Object.keys({
  batchSize: true,
  maxDelay: true,
  dispatch: true,
  concurrency: true,
  maxQueued: true,
  onFull: true,
  maxCost: true,
  maxQueuedCost: true,
  aging: true,
  isolateErrors: true,
  runTimeout: true,
} satisfies Record<keyof PublicOptions, true>) as readonly (keyof PublicOptions)[];

export function publicOptions<Input>(options: ResolvedOptions<Input>): PublicOptions {
  return Object.fromEntries(SETTINGS.map((setting) => [setting, options[setting]])) as PublicOptions;
}
