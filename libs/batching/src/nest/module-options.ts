import { checkMilliseconds, naming, show } from '../core/checks.js';
import {
  type BatchOptions,
  type PublicOptions,
  type QueueOptions,
  resolveOptions,
  SETTINGS,
} from '../core/options.js';
import { serial } from '../core/serial-queue.js';
import type { ErrorClass, TraceCarrier, Transport } from '../transport/transport.js';
import type { Mark } from './marks.js';
import type { ViewKey } from './views.js';

/** Settings for all queues of an application. */
export interface BatchingModuleOptions {
  /** Settings of every queue whose decorator does not set them; what keys mean only the decorator can say. */
  defaults?: Omit<QueueOptions, 'name' | 'autoStart' | 'keyBy' | 'missing' | 'coalesce'>;
  /**
   * Settings of single queues by name (`DigitClassifier.classify`), which override those of the decorator,
   * for tuning in production. The queue of a `@SerialService()` accepts only those that do not concern
   * batches.
   */
  queues?: Record<string, QueueOverride>;
  /**
   * Milliseconds, from the first shutdown hook on, for which a closing application waits for the inputs it
   * has accepted: ≥ 0, or `Infinity`. Inputs left after that are rejected with a `ServiceStoppedError`, even
   * if the HTTP server still waits for their requests. Inference workers finish within the same time. Default
   * 10,000.
   */
  shutdownTimeout?: number;
  /**
   * Carries inputs between this application and others: `redisTransport()` of `nest-batching/redis` or
   * `natsTransport()` of `nest-batching/nats`. Default: none; then everything runs in this process, and `remote` and
   * `serve` have no effect.
   */
  transport?: Transport | undefined;
  /**
   * Classes of your own errors by a name that stays the same in every build, on the nodes that throw them and on
   * those that get them: `{ OutOfStock }`. They arrive as instances of their class, with their own enumerable
   * properties; their constructor is not called. Errors of this library, of JavaScript and Nest's HTTP exceptions
   * need not be listed; an error of any other class arrives as a `RemoteError`.
   */
  errors?: Readonly<Record<string, ErrorClass>> | undefined;
  /**
   * Carries trace context between nodes. Default: with `BatchingTracingModule` of `nest-batching/opentelemetry`, by
   * the propagator of OpenTelemetry; else none is carried.
   */
  trace?: TracePropagation | undefined;
}

/** Which services are on other nodes; static, as queues are built of it. */
export interface BatchingNodeOptions {
  /**
   * Classes whose inputs are sent to the nodes that serve them. They need not be provided here. A token stands
   * for what `@InjectBatched(token, C)` injects.
   */
  remote?: readonly ViewKey[] | undefined;
  /**
   * Provided classes that take inputs from other nodes. One that is in `remote` as well is run here while less
   * than a batch waits, and elsewhere beyond.
   */
  serve?: readonly ViewKey[] | undefined;
}

/** Takes trace context out of the caller's async context, and puts it into that of the node that runs the input. */
export interface TracePropagation {
  /** The context of the caller, for example `{ traceparent: '00-…' }`; `undefined` if there is none. */
  inject(): TraceCarrier | undefined;
  /** Calls `submit` in that context. */
  extract<T>(carrier: TraceCarrier, submit: () => T): T;
}

type QueueOverride = Partial<PublicOptions>;

/** The injection token of the options. */
export const OPTIONS = 'options of BatchingModule.forRoot()';

/** The injection token of `remote` and `serve`. */
export const NODE_OPTIONS = 'remote and serve of BatchingModule.forRoot()';

export const FOR_ROOT = 'BatchingModule.forRoot()';

/** Settings that have no meaning for a queue with batches of one. */
const FOR_BATCHES = new Set<string>([...Object.keys(serial), 'maxCost', 'isolateErrors']);
const SERIAL_SETTINGS = SETTINGS.filter((setting) => !FOR_BATCHES.has(setting));

/**
 * Checks `shutdownTimeout` and `defaults`; overrides are checked when their queue is built.
 *
 * @returns the `shutdownTimeout`, in milliseconds
 * @throws TypeError or RangeError for an invalid option
 */
export function checkModuleOptions(options: BatchingModuleOptions): number {
  const { defaults, shutdownTimeout = 10_000, transport, errors = {} } = options;
  naming(FOR_ROOT, () => checkMilliseconds('shutdownTimeout', shutdownTimeout));
  naming(FOR_ROOT, () => {
    checkTransport(transport);
    checkErrors(errors);
  });
  naming(`${FOR_ROOT}: defaults`, () => resolveOptions({ ...defaults, batchSize: 1, maxDelay: 0 }, ''));
  return shutdownTimeout;
}

function checkTransport(transport: unknown): void {
  if (transport === undefined || typeof Reflect.get(Object(transport) as object, 'call') === 'function')
    return;
  throw new TypeError(
    `transport: expected a transport, as redisTransport() returns it, got ${show(transport)}`,
  );
}

function checkErrors(errors: unknown): void {
  if (typeof errors !== 'object' || errors === null) {
    throw new TypeError(`errors: expected classes by name, got ${show(errors)}`);
  }
  for (const [name, type] of Object.entries(errors)) {
    const prototype: unknown = typeof type === 'function' ? Reflect.get(type, 'prototype') : undefined;
    const isErrorClass = prototype instanceof Error;
    if (!isErrorClass) throw new TypeError(`errors: ${name}: expected a class of errors, got ${show(type)}`);
  }
}

/** @throws TypeError for what is no class and no token */
export function checkNodeOptions({ remote = [], serve = [] }: BatchingNodeOptions): void {
  for (const [option, keys] of Object.entries({ remote, serve })) {
    if (!Array.isArray(keys))
      throw new TypeError(`${FOR_ROOT}: ${option}: expected an array, got ${show(keys)}`);
    for (const key of keys as unknown[]) {
      if (['function', 'string', 'symbol'].includes(typeof key)) continue;
      throw new TypeError(
        `${FOR_ROOT}: ${option}: expected classes, got ${show(key)}; if it is imported, the files import each other in a circle`,
      );
    }
  }
}

/**
 * Merges the options of one queue. Each is the application's override, else the decorator's, else the
 * application's default. `undefined` counts as not given, as from an environment variable that is not set.
 *
 * @throws TypeError for an override of a setting that this queue does not have
 */
export function mergeOptions(
  { defaults, queues }: BatchingModuleOptions,
  mark: Mark,
  name: string,
): BatchOptions {
  const override = queues?.[name] ?? {};
  const allowed: readonly string[] = mark.serial ? SERIAL_SETTINGS : SETTINGS;
  for (const setting of Object.keys(override)) {
    if (allowed.includes(setting)) continue;
    throw new TypeError(
      `${setting}: expected one of ${allowed.join(', ')} for a method marked with ${mark.decorator}`,
    );
  }
  return { ...given(defaults), ...given(mark.options), ...given(override), name };
}

function given<T extends object>(options: T | undefined): T {
  return Object.fromEntries(Object.entries(options ?? {}).filter(([, value]) => value !== undefined)) as T;
}

type Source = [where: string, options: object];

/** Where the settings of a queue come from; the first that has one decides. */
function sourcesOf({ defaults, queues }: BatchingModuleOptions, mark: Mark, name: string): Source[] {
  return [
    ['forRoot queues', given(queues?.[name])],
    ['decorator', given(mark.options)],
    ['forRoot defaults', given(defaults)],
  ];
}

function sourceOf(setting: string, sources: Source[]): string {
  const [source] = sources.find(([, options]) => setting in options) ?? ['default'];
  return source;
}

/** The settings of one queue, and where each of them was set, for the log. */
export function describeSettings(
  { defaults, queues }: BatchingModuleOptions,
  mark: Mark,
  queue: { readonly name: string; stats(): { options: PublicOptions } },
): string {
  const { name } = queue;
  const { options: settings } = queue.stats();
  const sources = sourcesOf({ defaults, queues }, mark, name);
  if (mark.serial) return `${name}: one call at a time (@SerialService)`;
  const list = (['batchSize', 'maxDelay', 'dispatch'] as const).map((setting) => {
    const source = sourceOf(setting, sources);
    return `${setting} ${settings[setting]}${setting === 'maxDelay' ? ' ms' : ''} (${source})`;
  });
  return `${name}: ${list.join(', ')}`;
}

/** The same for a queue whose inputs are sent to other nodes. */
export function describeRemote(
  { defaults, queues }: BatchingModuleOptions,
  mark: Mark,
  { name, maxQueued }: { readonly name: string; readonly maxQueued: number },
): string {
  const source = sourceOf('maxQueued', sourcesOf({ defaults, queues }, mark, name));
  return `${name}: sent to other nodes, at most ${maxQueued} inputs at once (${source})`;
}
