import { checkCost, checkCount, checkMilliseconds, checkOneOf, checkType, show } from './checks.js';
import type { Dispatch } from './dispatch/dispatch-policy.js';
import { type Lane, slotsOf } from './lane.js';

/** The settings of a queue, all optional, beside `batchSize` and `maxDelay`. */
export interface QueueOptions<Input = unknown> {
  /** Names the queue in errors, stats and logs. Default: the name of the batch function. */
  name?: string;
  /**
   * When a partial batch leaves, once a slot is free. `adaptive`: when waiting longer would cost the waiting
   * inputs more than it saves, as learned from the traffic. `fixed`: when its oldest input has waited
   * `maxDelay`, as in the reference (docs/contract.md). `eager`: at once. Default: `adaptive`.
   */
  dispatch?: Dispatch;
  /** Batches that may run at the same time. Default 1; an integer ≥ 1, or `Infinity`. */
  concurrency?: number;
  /**
   * Slots shared with other queues that use the same device. Default: none; then only `concurrency` limits
   * the runs.
   */
  lane?: Lane | undefined;
  /**
   * Returns what an input costs (tokens, pixels, bytes): a finite number ≥ 0. Called once per input, when it
   * is submitted. What it throws rejects that input alone, as do a `TypeError` for any other type (a promise,
   * for example) and a `RangeError` for any other number. Default: every input costs 0.
   */
  cost?(input: Input): number;
  /**
   * Largest total cost of one batch, ≥ 0; an input that costs more by itself is refused with an
   * `InputCostError`. Default `Infinity`.
   */
  maxCost?: number;
  /** Largest total cost of the inputs that wait, ≥ 0; an empty queue takes any input. Default `Infinity`. */
  maxQueuedCost?: number;
  /**
   * Returns the key of an input's group (shape, options, model variant), compared as a `Map` key: only inputs
   * with the same key share a batch. What it throws, or a `TypeError` for a promise, rejects that input
   * alone. Default: one group.
   */
  groupBy?(input: Input): unknown;
  /**
   * Returns the key of an input, compared as a `Map` key: inputs with the same key ask for the same thing.
   * With it the batch function may return a `Map` from keys to results. Called once per input, when it is
   * submitted. What it throws, or a `TypeError` for a promise, rejects that input alone. Default: inputs have
   * no keys.
   */
  keyBy?(input: Input): unknown;
  /**
   * What the caller of an input gets whose key is not in the `Map` that the batch function returned:
   * `reject`: a `MissingResultError`; `undefined`: `undefined`. Default: `reject`.
   */
  missing?: 'reject' | 'undefined';
  /**
   * Whether inputs with the same key that wait or run at the same time become one input with several callers,
   * who share one result object. Each caller keeps its own signal and timeout; the input leaves when the last
   * caller has gone. It has the highest priority of its callers, and the cost, group and tenant of the first.
   * Nothing is cached: after it has ended, the next call runs again. The key must contain everything that
   * access depends on (user, tenant, language), or one caller gets what only another may see. Requires
   * `keyBy`. Default `false`.
   */
  coalesce?: boolean;
  /** What one level of `priority` is worth, in milliseconds of waiting: ≥ 0. Default 1000. */
  aging?: number;
  /**
   * Whether a batch that fails is split in halves that run again, and so on, until only the callers of the
   * inputs at fault get an error. One faulty input among n costs at most 2 · log₂ n more runs, so the batch
   * function must be safe to call again with the same inputs. Default `false`.
   */
  isolateErrors?: boolean;
  /**
   * Longest that the batch function may take, in milliseconds: ≥ 0, or `Infinity`. After that its callers get
   * a `BatchTimeoutError`, its slot is free again, and what it returns is ignored. Default `Infinity`.
   */
  runTimeout?: number;
  /** Inputs that may wait at the same time: an integer ≥ 1; 0 or `Infinity` for no limit. Default 10,000. */
  maxQueued?: number;
  /**
   * What happens to an input that is submitted to a full queue. `reject`: it is refused with a
   * `QueueFullError`. `wait`: it is taken in when there is room, in order of arrival. Default: `reject`.
   */
  onFull?: 'reject' | 'wait';
  /** Whether batches leave at once; if `false`, only after `start()`. Default `true`. */
  autoStart?: boolean;
}

/** The settings of a queue. */
export interface BatchOptions<Input = unknown> extends QueueOptions<Input> {
  /** Most inputs in one batch: an integer ≥ 1, or `Infinity`. */
  batchSize: number;
  /**
   * Longest that an input waits for others while a slot is free, in milliseconds from its submission: ≥ 0, or
   * `Infinity`. With `fixed`, `Infinity` waits for a full batch. With `adaptive` it is an upper bound that is
   * seldom reached.
   */
  maxDelay: number;
}

/** The option that makes a `Map` from keys to results a valid answer of a batch function. */
export type Keyed<Input = unknown> = Required<Pick<QueueOptions<Input>, 'keyBy'>>;

/** Options with `keyBy`. With `missing: 'undefined'` the type of the results must include `undefined`. */
export type KeyedBatchOptions<Input, Result> = BatchOptions<Input> &
  Keyed<Input> &
  (undefined extends Result ? unknown : { missing?: 'reject' });

/** Options of one input; with `submitMany`, of each. */
export interface SubmitOptions {
  /**
   * Gives the input up when it aborts: the promise rejects with `signal.reason`, or an `AbortError` if the
   * signal has none. An input that still waits is not run.
   */
  signal?: AbortSignal | undefined;
  /**
   * Gives the input up after this many milliseconds, ≥ 0, with a `BatchTimeoutError`. An input that is
   * expected to be late, by recent run times, is refused at once with a `DeadlineError`. Default: no timeout.
   */
  timeout?: number | undefined;
  /**
   * Inputs of higher priority leave first; one level is worth `aging` milliseconds of waiting. Any finite
   * number; default 0.
   */
  priority?: number | undefined;
  /**
   * Key of a tenant, compared as a `Map` key. Tenants of equal priority take turns, so that none can crowd
   * the others out.
   */
  tenant?: unknown;
}

/** What code of this library may say of an input beyond what its users can. */
export interface InternalSubmitOptions extends SubmitOptions {
  /**
   * Keeps the input from others that are less suspect of ending the process that runs them. `together`: it
   * shares a batch only with others of this kind, and of its own group. `alone`: with none.
   */
  apart?: 'together' | 'alone' | undefined;
  /**
   * Called with a result that comes when the caller has given up, so that what it holds can be freed. May not throw. Not called for
   * what a function returns after its `runTimeout`.
   */
  onLate?: ((result: unknown) => void) | undefined;
}

/** Options of `stop`. */
export interface StopOptions {
  /**
   * Milliseconds, ≥ 0, after which all inputs that are left are rejected with a `ServiceStoppedError`.
   * Default: no limit.
   */
  timeout?: number | undefined;
  /**
   * Drops the inputs that wait, instead of running them, and aborts the signals of the batches that run;
   * these are still waited for. Default `false`.
   */
  hard?: boolean | undefined;
}

/** How an option is checked, and its default. */
interface Option<T> {
  /** @returns the value as the queue uses it */
  readonly check: (name: string, value: T) => T;
  /** Without a default, the option is required, or may be `undefined` (see `OPTIONAL`). */
  readonly default?: T;
  /**
   * Whether it may be overridden for one queue by its name (`BatchingModuleOptions.queues`), and `stats`
   * shows it.
   */
  readonly isSetting?: true;
}

type Options = { readonly [K in keyof BatchOptions]-?: Option<Exclude<BatchOptions[K], undefined>> };

const setting = { isSetting: true } as const;
const flag = (name: string, value: boolean): boolean => checkType(name, 'boolean', value);
const oneOf =
  <T extends string>(...choices: T[]) =>
  (name: string, value: T): T =>
    checkOneOf(name, choices, value);

/** The one list of the options: types, checks, defaults and the names of settings derive from it. */
const OPTIONS = {
  batchSize: { ...setting, check: (name: string, value: number) => checkCount(name, value, 1) },
  maxDelay: { ...setting, check: checkMilliseconds },
  dispatch: { ...setting, check: oneOf<Dispatch>('adaptive', 'fixed', 'eager'), default: 'adaptive' },
  concurrency: { ...setting, check: (name: string, value: number) => checkCount(name, value, 1), default: 1 },
  // 0 means no limit, as in the reference (docs/contract.md).
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
  keyBy: { check: (name, value) => checkType(name, 'function', value) },
  missing: { check: oneOf<'reject' | 'undefined'>('reject', 'undefined'), default: 'reject' },
  // No setting for production: only the code that makes the key knows whether callers of one key may see the
  // same.
  coalesce: { check: flag, default: false },
  lane: { check: checkLane },
  name: { check: (name: string, value: string) => checkType(name, 'string', value) },
  autoStart: { check: flag, default: true },
} as const satisfies Options;

type Name = keyof typeof OPTIONS;

const NAMES = Object.keys(OPTIONS) as Name[];

/** Options that have no default and may be `undefined`. */
type Optional = 'lane' | 'cost' | 'groupBy' | 'keyBy';
const OPTIONAL: readonly Name[] = ['lane', 'cost', 'groupBy', 'keyBy'] satisfies Optional[];

/** Names of the options that `stats` shows, and that may be overridden for one queue. */
export type SettingName = { [K in Name]: (typeof OPTIONS)[K] extends { isSetting: true } ? K : never }[Name];

export const SETTINGS = NAMES.filter((name): name is SettingName => 'isSetting' in OPTIONS[name]);

/** The options of a queue, checked and complete. */
export type ResolvedOptions<Input = unknown> = Required<Omit<BatchOptions<Input>, Optional>> &
  Pick<BatchOptions<Input>, Optional>;

/** The options that `stats` shows. */
export type PublicOptions = Pick<ResolvedOptions, SettingName>;

/**
 * Checks all options and adds the defaults. Each option is read once.
 *
 * @param defaultName used if the options have no `name`
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
  if (resolved.coalesce === true && !resolved.keyBy) {
    throw new TypeError(
      'coalesce: expected a keyBy beside it, which says what inputs are the same; there is none',
    );
  }
  return resolved as unknown as ResolvedOptions<Input>;
}

/**
 * @returns the value as the queue uses it
 * @throws TypeError or RangeError with the option's name, what was expected and what was given
 */
export function checkOption<K extends Name>(
  name: K,
  value: Parameters<(typeof OPTIONS)[K]['check']>[1],
): typeof value {
  const { check } = OPTIONS[name] as unknown as Option<typeof value>;
  return check(name, value);
}

/** A copy of the settings that `stats` shows. */
export function publicOptions<Input>(options: ResolvedOptions<Input>): PublicOptions {
  return Object.fromEntries(SETTINGS.map((name) => [name, options[name]])) as unknown as PublicOptions;
}

export function checkSubmitOptions(
  signal: AbortSignal | undefined,
  timeout: number | undefined,
  priority: number | undefined,
): void {
  if (timeout !== undefined) checkMilliseconds('timeout', timeout);
  // By its methods: `instanceof` would refuse a signal of another realm.
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
