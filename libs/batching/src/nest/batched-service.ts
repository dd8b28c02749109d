import type { BatchContext, TypedArray } from '../core/batch-function.js';
import { naming } from '../core/checks.js';
import { type BatchOptions, type Keyed, type QueueOptions, resolveOptions } from '../core/options.js';
import { serial, type SerialOptions } from '../core/serial-queue.js';
import type { BatchedService as Service } from '../core/service.js';
import { methodName, setMark } from './marks.js';

/**
 * A callable service, as `asBatchedService` and `asService` return it: takes one input, returns a promise of
 * its result.
 */
export type BatchedService<Input, Result> = Service<Input, Result>;

/** With keys and `missing: 'undefined'`: the method may return a `Map` of results or `undefined`. */
export function BatchedService(
  batchSize: number,
  maxDelay: number,
  options: QueueOptions & Keyed & { missing: 'undefined' },
): BatchedServiceDecorator<'undefined'>;
/** With keys: the method may return a `Map` from the keys of its inputs to their results. */
export function BatchedService(
  batchSize: number,
  maxDelay: number,
  options: QueueOptions & Keyed,
): BatchedServiceDecorator<'reject'>;
/**
 * Marks a method of a provider as a batch function: `(inputs) => results`, one result per input, in the same order, as
 * an array or a typed array.
 *
 * The method itself is not changed, so that it is easy to test. The view that `@InjectBatched(C)` injects has a method of
 * the same name that takes one input, and runs the marked method in batches.
 *
 * ```ts
 * @BatchedService(64, 5)
 * async classify(images: readonly Uint8Array[]): Promise<Digit[]> { … }
 * ```
 *
 * The second argument is always passed, and may be declared as `batch?: BatchContext`: `batch.signal` aborts when no
 * caller waits for the results any more, when `runTimeout` expires, and on a hard stop.
 *
 * With `keyBy` the method may return a `Map` from the keys of its inputs to their results.
 *
 * @param batchSize most inputs in one batch: an integer ≥ 1, or `Infinity`
 * @param maxDelay longest that an input waits for others, in milliseconds: ≥ 0, or `Infinity`
 * @throws TypeError or RangeError, when the class is defined, for an invalid option or a target that is not a method of
 *   instances
 */
export function BatchedService(
  batchSize: number,
  maxDelay: number,
  options?: QueueOptions,
): BatchedServiceDecorator;
/** Not a way to call it: for the compiler to say how. */
export function BatchedService(...misused: Misused): Record<'@BatchedService()', Usage>;
/** The one without keys again: of overloads, `Parameters` and `ReturnType` take the last. */
export function BatchedService(
  batchSize: number,
  maxDelay: number,
  options?: QueueOptions,
): BatchedServiceDecorator;
export function BatchedService(
  ...given: [batchSize: number, maxDelay: number, options?: QueueOptions] | Misused
): BatchedServiceDecorator | Record<'@BatchedService()', Usage> {
  const [batchSize, maxDelay, options] = given;
  if (given.length < 2 || isObject(batchSize) || isObject(maxDelay)) {
    throw new TypeError(`@BatchedService(): ${USAGE}`);
  }
  return marker('@BatchedService()', { ...(options as object), batchSize, maxDelay } as BatchOptions, false);
}

const USAGE =
  'call it with batchSize and maxDelay, then options if any: @BatchedService(64, 5, { concurrency: 2 })';
type Usage = typeof USAGE;

/**
 * One argument, an options object in place of a number, or a decorator's own arguments, as without
 * parentheses.
 */
type Misused =
  | []
  | [batchSizeOrOptions: number | object]
  | [batchSize: number, options: object]
  | [target: object, key: string | symbol, descriptor?: unknown];

/**
 * Marks a method of one parameter that must not be called concurrently. The view that `@InjectBatched(C)`
 * injects runs it one call at a time, in order of arrival.
 *
 * @throws TypeError or RangeError, when the class is defined, for an invalid option or a target that is not a
 *   method of instances
 */
export function SerialService(options?: SerialOptions): SerialServiceDecorator {
  return marker('@SerialService()', { ...options, ...serial }, true);
}

function isObject(value: unknown): boolean {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

function marker(decorator: string, options: BatchOptions, isSerial: boolean) {
  return (target: object, key: string | symbol, descriptor?: PropertyDescriptor): void => {
    const { name: className } = typeof target === 'function' ? target : target.constructor;
    const name = methodName(className, key);
    const method: unknown = descriptor?.value;
    if (typeof target === 'function' || typeof method !== 'function') {
      throw new TypeError(`${decorator} marks methods of instances, which ${name} is not`);
    }
    naming(`${decorator} on ${name}`, () => resolveOptions(options, name));
    setMark(target, key, { decorator, options, serial: isSerial });
  };
}

/** What becomes of a key without a result where inputs have keys; `never` where they have none. */
type Missing = 'reject' | 'undefined';

/** Accepts methods that may be marked with `@BatchedService()`; for others the compiler prints the reason. */
export type BatchedServiceDecorator<M extends Missing = never> = <
  T extends object,
  K extends string | symbol,
  F,
>(
  target: T & Sentence<T, '@BatchedService()', PlaceProblem<T, K, F, MarkProblem<F, M>>>,
  key: K,
  descriptor?: TypedPropertyDescriptor<F>,
) => void;

/** Accepts methods that may be marked with `@SerialService()`; for others the compiler prints the reason. */
export type SerialServiceDecorator = <T extends object, K extends string | symbol, F>(
  target: T & Sentence<T, '@SerialService()', PlaceProblem<T, K, F, SerialProblem<F>>>,
  key: K,
  descriptor?: TypedPropertyDescriptor<F>,
) => void;

/**
 * A type cannot report an error of its own. So the target is required to have a property that no class has:
 * its name is the decorator's, and its type is the sentence that the compiler prints.
 *
 * Nothing is required of a target that may be any object, so that the decorator is a `MethodDecorator`, which
 * `applyDecorators()` takes. No class with a method is such a target.
 */
type Sentence<T, Decorator extends string, Problem> = object extends T
  ? unknown
  : Problem extends true
    ? unknown
    : Record<Decorator, Problem>;

/** `F` is `unknown` where the compiler passes no descriptor, that is for a property. */
type PlaceProblem<T, K, F, Otherwise> = unknown extends F
  ? 'a property cannot be marked: make it a method'
  : T extends abstract new (...args: never) => unknown
    ? 'a static method cannot be marked: only methods of an injected instance can be batched'
    : K extends keyof T
      ? Otherwise
      : 'a private or protected method cannot be marked: Batched<C> could not offer it';

/** The reason why a method cannot be a batch function, as a sentence; `true` if it can. */
export type BatchProblem<F> = F extends (...args: infer P) => infer R
  ? P['length'] extends 0
    ? 'the method has no parameter: it must take the array of inputs'
    : [P[0]] extends [readonly unknown[]]
      ? IsTuple<P[0]> extends true
        ? 'the parameter is a tuple: it must be an array, because batches differ in size'
        : F extends (inputs: P[0], batch: BatchContext) => unknown
          ? [Awaited<R>] extends [readonly unknown[]]
            ? IsTuple<Awaited<R>> extends true
              ? 'the method returns a tuple: it must return an array, one result per input'
              : true
            : [Awaited<R>] extends [readonly unknown[] | TypedArray<unknown> | ReadonlyMap<unknown, unknown>]
              ? true
              : 'the method must return an array of results, or a Promise of one: one result per input, in their order'
          : 'after the inputs only their batch can follow, `batch?: BatchContext`: put the rest into each input'
      : 'the parameter must be an array, the inputs of a batch; for one input at a time there is @SerialService()'
  : 'an accessor cannot be marked: make it a method';

/** The reason why a method cannot be a serial service, as a sentence; `true` if it can. */
export type SerialProblem<F> = F extends (...args: infer P) => unknown
  ? P['length'] extends 0
    ? 'the method has no parameter: it must take the input'
    : F extends (input: infer _) => unknown
      ? BatchProblem<F> extends true
        ? 'array in, array or Map out is the shape of @BatchedService(), as which Batched<C> would type it: wrap the input in an object'
        : true
      : 'the method has more than one required parameter: put them into one object, the input'
  : 'an accessor cannot be marked: make it a method';

/**
 * What is wrong with a method under `@BatchedService()` with these options, in a sentence; `true` if nothing
 * is.
 */
type MarkProblem<F, M extends Missing> = BatchProblem<F> extends true ? MapProblem<F, M> : BatchProblem<F>;

type MapProblem<F, M extends Missing> = F extends (...args: never) => infer R
  ? 0 extends 1 & Awaited<R>
    ? true
    : [Extract<Awaited<R>, ReadonlyMap<unknown, unknown>>] extends [never]
      ? true
      : [M] extends [never]
        ? 'the method returns a Map: the options must have keyBy, which says what the keys of its inputs are'
        : 'undefined' extends M
          ? Extract<Awaited<R>, ReadonlyMap<unknown, unknown>> extends ReadonlyMap<unknown, infer V>
            ? undefined extends V
              ? true
              : "with missing: 'undefined' the Map must be declared as one of results or undefined, as its callers get them"
            : never
          : true
  : true;

type IsTuple<T extends readonly unknown[]> = [T] extends [never]
  ? false
  : number extends T['length']
    ? false
    : true;
