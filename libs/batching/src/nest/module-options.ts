import { checkMilliseconds, naming } from '../core/checks.js';
import {
  type BatchOptions,
  type PublicOptions,
  type QueueOptions,
  resolveOptions,
  SETTINGS,
} from '../core/options.js';
import { serial } from '../core/service.js';
import type { Mark } from './marks.js';

/** Settings for all queues of an application. */
export interface BatchingModuleOptions {
  /** Settings of every queue whose decorator does not set them. */
  defaults?: Omit<QueueOptions, 'name' | 'autoStart'>;
  /**
   * Settings of one queue, by its name, `DigitClassifier.classify`, above those of its decorator: to retune it in production.
   * The queue of a `@SerialService()` takes only those that do not concern batches.
   */
  queues?: Record<string, QueueOverride>;
  /**
   * How long a closing application waits for the inputs it has accepted, in milliseconds from the first shutdown hook
   * on; inputs left then are rejected with a `ServiceStoppedError`, also while the HTTP server still waits for their requests.
   * Inference workers finish within the same time. Default 10,000; ≥ 0, or `Infinity`.
   */
  shutdownTimeout?: number;
}

type QueueOverride = Partial<PublicOptions>;

/** The token of the options. */
export const OPTIONS = 'options of BatchingModule.forRoot()';

export const FOR_ROOT = 'BatchingModule.forRoot()';

/** What a queue with batches of one has no use for. */
const FOR_BATCHES = new Set<string>([...Object.keys(serial), 'maxCost', 'isolateErrors']);
const SERIAL_SETTINGS = SETTINGS.filter((setting) => !FOR_BATCHES.has(setting));

/**
 * Checks what concerns no queue in particular; the rest is checked where the queue is made.
 *
 * @returns the `shutdownTimeout`, in milliseconds
 */
export function checkModuleOptions({ defaults, shutdownTimeout = 10_000 }: BatchingModuleOptions): number {
  naming(FOR_ROOT, () => checkMilliseconds('shutdownTimeout', shutdownTimeout));
  naming(`${FOR_ROOT}: defaults`, () => resolveOptions({ ...defaults, batchSize: 1, maxDelay: 0 }, ''));
  return shutdownTimeout;
}

/**
 * Merges the options of one queue: the application's override, else its decorator, else the application's defaults. An option
 * that is `undefined` counts as not given, as where an environment variable is not set.
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
