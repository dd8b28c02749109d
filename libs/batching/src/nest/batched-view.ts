import type { BatchContext } from '../core/batch-function.js';
import type { BatchQueue } from '../core/batch-queue.js';
import type { SubmitOptions } from '../core/options.js';
import type { BatchProblem, SerialProblem } from './batched-service.js';

/**
 * A marked method as its callers see it: one input in, a promise of its result out. Starting, draining and stopping belong to
 * the application, so they are on its `BatchingRegistry` and on `queue`.
 */
export interface BatchedMethod<Input, Result> {
  (input: Input, options?: SubmitOptions): Promise<Result>;
  /** Takes in all inputs before a stop can take effect; one promise per input, in their order. */
  submitMany(inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[];
  /** The queue behind it: settings, stats, `onBatch`. */
  readonly queue: BatchQueue<Input, Result>;
}

/**
 * A provider as its callers see it: each marked method takes one input and returns a promise of that input's result. It is a
 * `BatchedMethod`: the call, `submitMany` and `queue`.
 *
 * A mark cannot be seen in a type. So every public method that could be marked is here, by the rules of the decorators
 * themselves: array in, array out is a batch method; any other method of one parameter is a serial one. The rest of
 * the class is left out. A method that could be marked but is not throws a `TypeError` when it is read.
 */
export type Batched<C> = {
  readonly [
    K in keyof C as K extends Hidden ? never : [MethodOf<C[K]>] extends [never] ? never : K
  ]: MethodOf<C[K]>;
};

type MethodOf<F> =
  BatchProblem<F> extends true
    ? F extends (inputs: infer Inputs, batch: BatchContext) => infer Results
      ? [Inputs, Awaited<Results>] extends [readonly (infer I)[], ArrayLike<infer R>]
        ? BatchedMethod<I, ResultOf<R>>
        : never
      : never
    : SerialProblem<F> extends true
      ? F extends (input: infer Input) => infer Result
        ? BatchedMethod<Input, Awaited<Result>>
        : never
      : never;

/**
 * What a promise in a result's place resolves to, without the errors that may stand there, too. A result that merely
 * looks like an `Error` (a `name` and a `message`) stays a result.
 */
type ResultOf<R> = [Exclude<Awaited<R>, Error>] extends [never] ? Awaited<R> : Exclude<Awaited<R>, Error>;

/** The one place that decides what a view shows of a queue. */
export function toMethod<Input, Result>(queue: BatchQueue<Input, Result>): BatchedMethod<Input, Result> {
  return Object.assign((input: Input, options?: SubmitOptions) => queue.submit(input, options), {
    submitMany: queue.submitMany.bind(queue),
    queue,
  });
}

/** A view with `then` would be taken for a promise; hooks of the provider, Nest would call on the view as well. */
const HIDDEN = [
  'then',
  'onModuleInit',
  'onApplicationBootstrap',
  'onModuleDestroy',
  'beforeApplicationShutdown',
  'onApplicationShutdown',
] as const;
type Hidden = (typeof HIDDEN)[number];
const hidden = new Set<PropertyKey>(HIDDEN);

/**
 * Makes the view of a class. It is made before the instance that it shows, so `services` is called when the view is
 * first used. Otherwise it is a plain object, on which spies, matchers and loggers find what they look for.
 */
export function createView(
  type: { readonly name: string; readonly prototype: object },
  services: () => ReadonlyMap<PropertyKey, unknown>,
): object {
  const target = Object.defineProperty({}, Symbol.toStringTag, { value: `Batched<${type.name}>` });
  let isFilled = false;
  const fill = (): void => {
    if (isFilled) return;
    for (const [key, value] of services()) {
      Object.defineProperty(target, key, { value, configurable: true, enumerable: true, writable: true });
    }
    isFilled = true;
  };

  return new Proxy(target, {
    get(_, key): unknown {
      if (hidden.has(key)) return undefined;
      if (!(key in target)) fill();
      // Only what the class has by name: matchers and loggers look for many a property that no class has.
      if (!(key in target) && typeof key === 'string' && key in type.prototype) {
        throw new TypeError(
          `${type.name}.${key} is not marked with @BatchedService() or @SerialService(), so its view does not have it; ` +
            `inject ${type.name} itself to use it`,
        );
      }
      return Reflect.get(target, key);
    },
    has(_, key) {
      if (hidden.has(key)) return false;
      if (!(key in target)) fill();
      return key in target;
    },
    set(_, key, value) {
      fill();
      return Reflect.set(target, key, value);
    },
    ownKeys() {
      fill();
      return Reflect.ownKeys(target);
    },
    getOwnPropertyDescriptor(_, key) {
      if (!(key in target)) fill();
      return Reflect.getOwnPropertyDescriptor(target, key);
    },
  });
}
