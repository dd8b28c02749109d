import type { BatchOptions } from '../core/options.js';
import type { Class } from './views.js';

/** What a decorator records about a method. */
export interface Mark {
  readonly decorator: string;
  /** The options of the decorator, before the application's defaults and overrides. */
  readonly options: BatchOptions;
  /** Whether the method takes one input at a time. */
  readonly serial: boolean;
}

/**
 * Marks are stored on the prototype that owns the method, by the method's name. On the function itself they
 * would be lost when another decorator wraps it or a test spies on it. `Symbol.for`, because an application
 * may load this library twice, as ESM and as CommonJS.
 */
const MARKS = Symbol.for('nest-batching:marks');

interface Marked {
  [MARKS]?: Map<PropertyKey, Mark>;
}

export function setMark(prototype: Marked, key: PropertyKey, mark: Mark): void {
  if (!Object.hasOwn(prototype, MARKS)) Object.defineProperty(prototype, MARKS, { value: new Map() });
  prototype[MARKS]?.set(key, mark);
}

/**
 * The marks of instances with this prototype. A method that overrides a marked one is not marked, unless by
 * itself.
 */
export function marksOf(prototype: object | null): Map<PropertyKey, Mark> {
  if (prototype === null) return new Map();
  const marks = marksOf(Reflect.getPrototypeOf(prototype));
  for (const key of Reflect.ownKeys(prototype)) marks.delete(key);
  if (Object.hasOwn(prototype, MARKS)) {
    for (const [key, mark] of (prototype as Marked)[MARKS] ?? []) marks.set(key, mark);
  }
  return marks;
}

/**
 * The marks of a provided instance. One of another class, such as a fake in a test, also has the marks of the
 * class.
 */
export function marksOn(instance: unknown, type: Class): Map<PropertyKey, Mark> {
  const marks = marksOf(typeof instance === 'object' && instance ? Reflect.getPrototypeOf(instance) : null);
  return instance instanceof type ? marks : new Map([...marksOf(type.prototype as object), ...marks]);
}

/** `DigitClassifier.classify`, `DigitClassifier[Symbol(classify)]` */
export function methodName(className: string, key: PropertyKey): string {
  return typeof key === 'symbol' ? `${className}[${String(key)}]` : `${className}.${key}`;
}
