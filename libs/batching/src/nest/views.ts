import type { FactoryProvider } from '@nestjs/common';
import { REGISTRY } from '../core/application.js';

/** A class, abstract or not. */
export type Class<C = object> = abstract new (...args: never) => C;

/** What a view is of: the token of a provider, as a module provides it. */
export type ViewKey = Class | string | symbol;

/**
 * The injection token of a view: to provide a fake in a test, to inject the view into a factory, or for `app.get()`.
 *
 * @param key the class, or, where several instances of a class are provided under tokens of their own, the token of one
 * @returns a string, because some of Nest's messages cannot print a symbol; unique even for classes and tokens of the same name
 * @throws TypeError if `key` is not a class, a string or a symbol
 */
export function getBatchedToken(key: Class | string | symbol): string {
  if (typeof key !== 'function' && typeof key !== 'string' && typeof key !== 'symbol') {
    throw new TypeError(
      `@InjectBatched(): expected a class, got ${String(key)}; if it is imported, the files import each other in a circle`,
    );
  }
  const known = views.byKey.get(key);
  if (known) return known;
  const name = `Batched<${showToken(key)}> of BatchingModule.forRoot()`;
  const namesakes = [...views.byKey.keys()].filter((other) => showToken(other) === showToken(key)).length;
  const token = namesakes === 0 ? name : `${name}, class ${namesakes + 1} of this name`;
  views.byKey.set(key, token);
  views.providers.push({
    provide: token,
    inject: [{ token: REGISTRY, optional: true }],
    useFactory: (registry?: ViewSource) => {
      if (!registry) throw new Error('BatchingModule is imported without forRoot()');
      return registry.view(key);
    },
  });
  for (const reference of views.sources) reference.deref()?.provideView(key, token);
  return token;
}

/** Notes the class of what a token provides: a fake in its place has that class's marks. */
export function setType(token: string | symbol, type: Class): void {
  views.types.set(token, (views.types.get(token) ?? new Set()).add(type));
}

/**
 * The class of what is provided; `Object` for a token that was injected without one.
 *
 * @param instance what is provided: applications of one process may provide different classes under one token
 */
export function typeOf(key: ViewKey, instance?: unknown): Class {
  if (typeof key === 'function') return key;
  const [first = Object, ...others] = views.types.get(key) ?? [];
  return others.find((type) => instance instanceof type) ?? first;
}

/** A token as text for a message. */
export function showToken(token: unknown): string {
  return isClass(token) ? token.name : typeof token === 'string' ? `'${token}'` : String(token);
}

/** What a token is called, as a part of the names of queues. */
export function tokenName(token: ViewKey): string {
  return typeof token === 'symbol'
    ? (token.description ?? 'symbol')
    : typeof token === 'string'
      ? token
      : token.name;
}

export function isClass(token: unknown): token is Class {
  return typeof token === 'function' && typeof token.prototype === 'object';
}

export { REGISTRY };

/** Creates the views of one application; its registry. */
export interface ViewSource {
  view(key: ViewKey): object;
  /** Adds the provider of a view that is first injected while the application runs. */
  provideView(key: ViewKey, token: string): void;
}

/**
 * All views that classes of this process inject, with their providers. Every application scans the list when
 * it starts, so no view has to be registered. A view that is injected later is added to the running
 * applications.
 *
 * On `globalThis`, because an application may load this library twice, as ESM and as CommonJS.
 */
interface Views {
  /** The token of each view. */
  readonly byKey: Map<ViewKey, string>;
  /** The classes of what is provided under tokens: one each, as a rule. */
  readonly types: Map<string | symbol, Set<Class>>;
  readonly providers: FactoryProvider[];
  /** Weak references, so that an application that is never closed, as in tests, can be garbage-collected. */
  readonly sources: Set<WeakRef<ViewSource>>;
}

const VIEWS = Symbol.for('nest-batching:views');

export const views: Views = ((globalThis as { [VIEWS]?: Views })[VIEWS] ??= {
  byKey: new Map(),
  types: new Map(),
  providers: [],
  sources: new Set(),
});
