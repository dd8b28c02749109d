import { Inject } from '@nestjs/common';
import type { Batched } from './batched-view.js';
import { type Class, getBatchedToken, setType } from './views.js';

/**
 * Injects the view of a class, in which each marked method takes one input. For a constructor parameter or a property
 * declared as `Batched<C>`; the compiler rejects any other type.
 *
 * ```ts
 * constructor(@InjectBatched(DigitClassifier) private readonly digits: Batched<DigitClassifier>) {}
 * ```
 *
 * @param type the class under which a module provides it; may be abstract
 * @throws TypeError if `type` is not a class
 */
export function InjectBatched<C extends object>(type: Class<C>): InjectBatchedDecorator<C>;
/**
 * Injects the view of one of several instances of a class, such as replicas or models, each provided under a token of its own.
 * Each has its own queues, named after the token: `fast.classify`.
 *
 * ```ts
 * constructor(@InjectBatched('fast', DigitClassifier) private readonly fast: Batched<DigitClassifier>) {}
 * ```
 *
 * @param token the string or symbol under which a module provides the instance
 * @param type its class
 * @throws TypeError if `type` is not a class
 */
export function InjectBatched<C extends object>(
  token: string | symbol,
  type: Class<C>,
): InjectBatchedDecorator<C>;
export function InjectBatched<C extends object>(
  key: Class<C> | string | symbol,
  type?: Class<C>,
): InjectBatchedDecorator<C> {
  if (typeof key === 'string' || typeof key === 'symbol') {
    // Without a class it is refused as any view of none is.
    if (typeof type !== 'function') getBatchedToken(type as never);
    else setType(key, type);
  }
  return Inject(getBatchedToken(key));
}

/** Accepts parameters and properties declared as `Batched<C>`; for others the compiler prints the reason. */
export type InjectBatchedDecorator<C> = <
  T extends object,
  K extends string | symbol | undefined,
  I extends number | undefined = undefined,
>(
  target: T & DeclarationProblem<C, Declared<T, K, I>>,
  key: K,
  index?: I,
) => void;

type DeclarationProblem<C, Type> =
  Batched<C> extends Type
    ? unknown
    : { '@InjectBatched()': 'declare it as the view, Batched<C>'; declared: Type; expected: Batched<C> };

/**
 * The declared type of a constructor parameter or a property; `unknown` where a decorator cannot infer it.
 */
type Declared<T, K, I> = I extends number
  ? T extends abstract new (...args: infer P) => unknown
    ? P[I]
    : unknown
  : K extends keyof T
    ? T[K]
    : unknown;
