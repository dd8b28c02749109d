import { checkMilliseconds, naming } from '../core/checks.js';
import {
  type BatchOptions,
  type PublicOptions,
  type QueueOptions,
  resolveOptions,
  SETTINGS,
} from '../core/options.js';
import { serial } from '../core/serial-queue.js';
import type { Mark } from './marks.js';

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
}

type QueueOverride = Partial<PublicOptions>;

/** The injection token of the options. */
export const OPTIONS = 'options of BatchingModule.forRoot()';

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
export function checkModuleOptions({ defaults, shutdownTimeout = 10_000 }: BatchingModuleOptions): number {
  naming(FOR_ROOT, () => checkMilliseconds('shutdownTimeout', shutdownTimeout));
  naming(`${FOR_ROOT}: defaults`, () => resolveOptions({ ...defaults, batchSize: 1, maxDelay: 0 }, ''));
  return shutdownTimeout;
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

/** The settings of one queue, and where each of them was set, for the log. */
export function describeSettings(
  { defaults, queues }: BatchingModuleOptions,
  mark: Mark,
  queue: { readonly name: string; stats(): { options: PublicOptions } },
): string {
  const { name } = queue;
  const { options: settings } = queue.stats();
  const sources: [string, object][] = [
    ['forRoot queues', given(queues?.[name])],
    ['decorator', given(mark.options)],
    ['forRoot defaults', given(defaults)],
  ];
  if (mark.serial) return `${name}: one call at a time (@SerialService)`;
  const list = (['batchSize', 'maxDelay', 'dispatch'] as const).map((setting) => {
    const [source] = sources.find(([, options]) => setting in options) ?? ['default'];
    return `${setting} ${settings[setting]}${setting === 'maxDelay' ? ' ms' : ''} (${source})`;
  });
  return `${name}: ${list.join(', ')}`;
}
