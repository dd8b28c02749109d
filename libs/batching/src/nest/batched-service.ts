import type { BatchContext, TypedArray } from '../core/batch-function.js';
import { naming } from '../core/checks.js';
import { type BatchOptions, type QueueOptions, resolveOptions } from '../core/options.js';
import { type BatchedService as Service, serial, type SerialOptions } from '../core/service.js';
import { methodName, setMark } from './marks.js';

/** The type of a callable service, which `asBatchedService` and `asService` return: one input in, its own result out. */
export type BatchedService<Input, Result> = Service<Input, Result>;

/**
 * Marks a method of a provider as a batch function: `(inputs) => results`, one result per input, in the same order, as
 * an array or a typed array.
 *
 * The method itself stays as it is, so that it is easy to test. Injected with `@InjectBatched(C)`, it takes one input
 * at a time and runs as batches.
 *
 * ```ts
 * @BatchedService(64, 5)
 * async classify(images: readonly Uint8Array[]): Promise<Digit[]> { … }
 * ```
 *
 * The method always gets its batch as a second argument, which it may declare as `batch?: BatchContext`: `batch.signal` aborts
 * when no caller waits for the results any more, when `runTimeout` is over, and on a hard stop.
 *
 * @param batchSize most inputs in one batch: an integer ≥ 1, or `Infinity`
 * @param maxDelay longest wait for others, in milliseconds ≥ 0
 * @throws TypeError or RangeError, while the class is being defined, for options that make no sense
 */
export function BatchedService(
  batchSize: number,
  maxDelay: number,
  options?: Omit<QueueOptions, 'name'>,
): BatchedServiceDecorator {
  return marker('@BatchedService()', { ...options, batchSize, maxDelay }, false);
}

/**
 * Marks a method of one parameter that must never be used by two at once. Injected with `@InjectBatched(C)`, it runs
 * one call at a time, in the order of arrival, however many callers there are.
 *
 * @throws TypeError or RangeError, while the class is being defined, for options that make no sense
 */
export function SerialService(options?: Omit<SerialOptions, 'name'>): SerialServiceDecorator {
  return marker('@SerialService()', { ...options, ...serial }, true);
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

/** Accepts what may be marked with `@BatchedService()`; for anything else the compiler prints what is wrong. */
export type BatchedServiceDecorator = <T extends object, K extends string | symbol, F>(
  target: T & Sentence<'@BatchedService()', PlaceProblem<T, K, F, BatchProblem<F>>>,
  key: K,
  descriptor?: TypedPropertyDescriptor<F>,
) => void;

/** Accepts what may be marked with `@SerialService()`; for anything else the compiler prints what is wrong. */
export type SerialServiceDecorator = <T extends object, K extends string | symbol, F>(
  target: T & Sentence<'@SerialService()', PlaceProblem<T, K, F, SerialProblem<F>>>,
  key: K,
  descriptor?: TypedPropertyDescriptor<F>,
) => void;

/**
 * A decorator cannot throw at compile time. So its target must have a property that no class has, named after the
 * decorator and typed as the sentence for the compiler to print.
 */
type Sentence<Decorator extends string, Problem> = Problem extends true
  ? unknown
  : Record<Decorator, Problem>;

/** `F` stays unknown when the compiler passes no descriptor. */
type PlaceProblem<T, K, F, Otherwise> = unknown extends F
  ? 'a property cannot be marked: make it a method'
  : T extends abstract new (...args: never) => unknown
    ? 'a static method cannot be marked: only methods of an injected instance can be batched'
    : K extends keyof T
      ? Otherwise
      : 'a private or protected method cannot be marked: Batched<C> could not offer it';

/** What is wrong with a method as a batch function, in a sentence; `true` if nothing is. */
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
            : [Awaited<R>] extends [readonly unknown[] | TypedArray<unknown>]
              ? true
              : 'the method must return an array of results, or a Promise of one: one result per input, in their order'
          : 'after the inputs only their batch can follow, `batch?: BatchContext`: put the rest into each input'
      : 'the parameter must be an array, the inputs of a batch; for one input at a time there is @SerialService()'
  : 'an accessor cannot be marked: make it a method';

/** What is wrong with a method as a service for one input at a time, in a sentence; `true` if nothing is. */
export type SerialProblem<F> = F extends (...args: infer P) => unknown
  ? P['length'] extends 0
    ? 'the method has no parameter: it must take the input'
    : F extends (input: infer _) => unknown
      ? BatchProblem<F> extends true
        ? 'array in, array out is the shape of @BatchedService(), as which Batched<C> would type it: wrap the input in an object'
        : true
      : 'the method has more than one required parameter: put them into one object, the input'
  : 'an accessor cannot be marked: make it a method';

type IsTuple<T extends readonly unknown[]> = [T] extends [never]
  ? false
  : number extends T['length']
    ? false
    : true;
