import { Inject } from '@nestjs/common';
import type { Batched } from './batched-view.js';
import { type Class, getBatchedToken } from './views.js';

/**
 * Injects the view of a class, whose marked methods take one input each. For a constructor parameter or a property
 * declared as `Batched<C>`; the compiler refuses any other type.
 *
 * ```ts
 * constructor(@InjectBatched(DigitClassifier) private readonly digits: Batched<DigitClassifier>) {}
 * ```
 *
 * @param type the class as some module provides it, or an abstract class that stands for it
 */
export function InjectBatched<C extends object>(type: Class<C>): InjectBatchedDecorator<C> {
  return Inject(getBatchedToken(type));
}

/** Accepts what is declared as `Batched<C>`; for anything else the compiler prints what is wrong. */
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

/** The declared type of a constructor parameter or a property; `unknown` where it cannot be seen. */
type Declared<T, K, I> = I extends number
  ? T extends abstract new (...args: infer P) => unknown
    ? P[I]
    : unknown
  : K extends keyof T
    ? T[K]
    : unknown;
