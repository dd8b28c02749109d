import type { BatchContext } from '../core/batch-function.js';
import type { BatchQueue } from '../core/batch-queue.js';
import type { SubmitOptions } from '../core/options.js';
import type { BatchProblem, SerialProblem } from './batched-service.js';

/**
 * A marked method in a view: takes one input, and returns a promise of its result. Draining and stopping
 * concern the whole application, so `BatchingRegistry` has them, and `queue`.
 */
export interface BatchedMethod<Input, Result> {
  (input: Input, options?: SubmitOptions): Promise<Result>;
  /**
   * Submits many inputs at once; returns one promise per input, in their order. See `BatchQueue.submitMany`.
   */
  submitMany(inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[];
  /** The queue of the method: settings, stats, `onBatch`. */
  readonly queue: BatchQueue<Input, Result>;
}

/**
 * The view of a provider: each marked method takes one input and returns a promise of its result
 * (`BatchedMethod`).
 *
 * The type system does not see marks. So the type has every public method that could be marked, by the rules
 * of the decorators: one that takes an array and returns an array or a `Map` as a batch method, any other of
 * one parameter as a serial method. Reading a method that is not marked throws a `TypeError`. Other members
 * of the class are left out.
 */
export type Batched<C> = {
  readonly [
    K in keyof C as K extends Hidden ? never : [MethodOf<C[K]>] extends [never] ? never : K
  ]: MethodOf<C[K]>;
};

type MethodOf<F> =
  BatchProblem<F> extends true
    ? F extends (inputs: infer Inputs, batch: BatchContext) => infer Results
      ? [Inputs, Awaited<Results>] extends [
          readonly (infer I)[],
          ArrayLike<infer R> | ReadonlyMap<unknown, infer R>,
        ]
        ? BatchedMethod<I, ResultOf<R>>
        : never
      : never
    : SerialProblem<F> extends true
      ? F extends (input: infer Input) => infer Result
        ? BatchedMethod<Input, Awaited<Result>>
        : never
      : never;

/**
 * The type of a result: promises are unwrapped, and `Error`s left out. If nothing else remains, as for a
 * result that only looks like an `Error` (a `name` and a `message`), it stays a result.
 */
type ResultOf<R> = [Exclude<Awaited<R>, Error>] extends [never] ? Awaited<R> : Exclude<Awaited<R>, Error>;

/**
 * The only part of a queue that a view has.
 *
 * @param taker what takes the inputs; default: the queue
 */
export function toMethod<Input, Result>(
  queue: BatchQueue<Input, Result>,
  refusal: () => Error | undefined = () => undefined,
  taker: Pick<BatchQueue<Input, Result>, 'submit' | 'submitMany'> = queue,
): BatchedMethod<Input, Result> {
  const call = (input: Input, options?: SubmitOptions): Promise<Result> => {
    const error = refusal();
    return error ? Promise.reject(error) : taker.submit(input, options);
  };
  return Object.assign(call, {
    submitMany: (inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[] => {
      const error = refusal();
      return error
        ? Array.from(inputs, () => Promise.reject<Result>(error))
        : taker.submitMany(inputs, options);
    },
    queue,
  });
}

/**
 * A view with a `then` would be taken for a promise, and Nest would call lifecycle hooks on the view as well.
 */
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
 * Creates the view of a class. It exists before the provider's instance, so `services` is called when the
 * view is first used. In all else it behaves as a plain object, for spies, matchers and loggers.
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
  /** Before `key` is read. */
  const fillFor = (key: PropertyKey): void => {
    if (key in target) return;
    try {
      fill();
    } catch (error) {
      // Code that looks for a symbol, as for a model's report, reads it from all providers of an application. They include the
      // views of classes that only another application of the process provides.
      if (typeof key === 'string' || key in type.prototype) throw error;
    }
  };

  return new Proxy(target, {
    get(_, key): unknown {
      if (hidden.has(key)) return undefined;
      fillFor(key);
      // Throws for members of the class only: matchers and loggers read many other properties.
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
      fillFor(key);
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
      fillFor(key);
      return Reflect.getOwnPropertyDescriptor(target, key);
    },
  });
}
