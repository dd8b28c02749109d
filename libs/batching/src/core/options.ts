import { checkCost, checkCount, checkMilliseconds, checkOneOf, checkType, show } from './checks.js';
import type { Dispatch } from './dispatch/dispatch-policy.js';
import { type Lane, slotsOf } from './lane.js';

/** The settings of a queue besides its batch size and its delay. */
export interface QueueOptions<Input = unknown> {
  /** Names the queue in errors, stats and logs. Default: the name of the batch function. */
  name?: string;
  /**
   * When a batch that is not full leaves, once a slot is free. `adaptive`: when waiting longer would cost the waiting
   * inputs more than it saves, as learned from the traffic. `fixed`: when its oldest input has waited `maxDelay`, as in
   * the reference (docs/contract.md). `eager`: at once. Default: `adaptive`.
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

/** What a caller can ask for, for one input. */
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
  /** Key of a tenant, compared as a `Map` key. Tenants of equal priority take turns, so that none can crowd the others out. */
  tenant?: unknown;
}

/** How to stop. */
export interface StopOptions {
  /** After so many milliseconds nothing is waited for any more: what is left is rejected. Default: no limit. */
  timeout?: number | undefined;
  /** Drop what waits instead of running it; batches that run are still waited for. Default `false`. */
  hard?: boolean | undefined;
}

/** How an option is checked, and what it is where it is not given. */
interface Option<T> {
  /** @returns the value as the queue uses it */
  readonly check: (name: string, value: T) => T;
  /** None: the option is required, or may stay away. */
  readonly default?: T;
  /** Whether it may be set for one queue in production, and `stats` shows it. */
  readonly isSetting?: true;
}

type Options = { readonly [K in keyof BatchOptions]-?: Option<Exclude<BatchOptions[K], undefined>> };

const setting = { isSetting: true } as const;
const flag = (name: string, value: boolean): boolean => checkType(name, 'boolean', value);
const oneOf =
  <T extends string>(...choices: T[]) =>
  (name: string, value: T): T =>
    checkOneOf(name, choices, value);

/** The one list of the options; what is said of all of them derives from it. */
const OPTIONS = {
  batchSize: { ...setting, check: (name: string, value: number) => checkCount(name, value, 1) },
  maxDelay: { ...setting, check: checkMilliseconds },
  dispatch: { ...setting, check: oneOf<Dispatch>('adaptive', 'fixed', 'eager'), default: 'adaptive' },
  concurrency: { ...setting, check: (name: string, value: number) => checkCount(name, value, 1), default: 1 },
  // 0 is the word of the reference (docs/contract.md) for no limit.
  maxQueued: {
    ...setting,
    check: (name: string, value: number) => checkCount(name, value, 0) || Infinity,
    default: 10_000,
  },
  onFull: { ...setting, check: oneOf<'reject' | 'wait'>('reject', 'wait'), default: 'reject' },
  maxCost: { ...setting, check: checkCost, default: Infinity },
  maxQueuedCost: { ...setting, check: checkCost, default: Infinity },
  aging: { ...setting, check: checkMilliseconds, default: 1000 },
  isolateErrors: { ...setting, check: flag, default: false },
  runTimeout: { ...setting, check: checkMilliseconds, default: Infinity },
  cost: { check: (name, value) => checkType(name, 'function', value) },
  groupBy: { check: (name, value) => checkType(name, 'function', value) },
  lane: { check: checkLane },
  name: { check: (name: string, value: string) => checkType(name, 'string', value) },
  autoStart: { check: flag, default: true },
} as const satisfies Options;

type Name = keyof typeof OPTIONS;

const NAMES = Object.keys(OPTIONS) as Name[];

/** Options that have no default and may stay away. */
type Optional = 'lane' | 'cost' | 'groupBy';
const OPTIONAL: readonly Name[] = ['lane', 'cost', 'groupBy'] satisfies Optional[];

/** Names of the options that `stats` shows, and that may be set for one queue in production. */
export type SettingName = { [K in Name]: (typeof OPTIONS)[K] extends { isSetting: true } ? K : never }[Name];

export const SETTINGS = NAMES.filter((name): name is SettingName => 'isSetting' in OPTIONS[name]);

/** The options of a queue, checked and complete. */
export type ResolvedOptions<Input = unknown> = Required<Omit<BatchOptions<Input>, Optional>> &
  Pick<BatchOptions<Input>, Optional>;

/** What `stats` shows of the options. */
export type PublicOptions = Pick<ResolvedOptions, SettingName>;

/**
 * Checks all options and completes them. Each is read once.
 *
 * @throws TypeError or RangeError with the option's name, what was expected and what was given
 */
export function resolveOptions<Input>(
  options: BatchOptions<Input>,
  defaultName: string,
): ResolvedOptions<Input> {
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw new TypeError(`options: expected an object with batchSize and maxDelay, got ${show(options)}`);
  }
  const asked = options as unknown as Readonly<Record<string, unknown>>;
  const resolved: Record<string, unknown> = {};
  for (const name of NAMES) {
    const given = asked[name];
    const { default: otherwise = name === 'name' ? defaultName : undefined }: Option<unknown> = OPTIONS[
      name
    ] as never;
    const value = given ?? otherwise ?? given;
    if (value === undefined && OPTIONAL.includes(name)) continue;
    resolved[name] = checkOption(name, value as never);
  }
  return resolved as unknown as ResolvedOptions<Input>;
}

/** @returns the value as the queue uses it; throws as `resolveOptions` does */
export function checkOption<K extends Name>(
  name: K,
  value: Parameters<(typeof OPTIONS)[K]['check']>[1],
): typeof value {
  const { check } = OPTIONS[name] as unknown as Option<typeof value>;
  return check(name, value);
}

/** The settings of a queue as they are now. */
export function publicOptions<Input>(options: ResolvedOptions<Input>): PublicOptions {
  return Object.fromEntries(SETTINGS.map((name) => [name, options[name]])) as unknown as PublicOptions;
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

function checkLane(name: string, value: Lane): Lane {
  if (!slotsOf(value)) throw new TypeError(`${name}: expected a Lane, got ${show(value)}`);
  return value;
}
