import type { FactoryProvider } from '@nestjs/common';

/** A class, abstract or not. */
export type Class<C = object> = abstract new (...args: never) => C;

/**
 * The injection token of a class's view: to provide a fake in a test, to inject the view into a factory, or
 * for `app.get()`.
 *
 * @returns a string, because some of Nest's messages cannot print a symbol; unique even for classes of the
 *   same name
 * @throws TypeError if `type` is not a class
 */
export function getBatchedToken(type: Class): string {
  const known = views.byClass.get(type);
  if (known) return known;
  if (typeof type !== 'function') {
    throw new TypeError(
      `@InjectBatched(): expected a class, got ${String(type)}; if it is imported, the files import each other in a circle`,
    );
  }
  const name = `Batched<${type.name}> of BatchingModule.forRoot()`;
  const namesakes = [...views.byClass.keys()].filter((other) => other.name === type.name).length;
  const token = namesakes === 0 ? name : `${name}, class ${namesakes + 1} of this name`;
  views.byClass.set(type, token);
  views.providers.push({
    provide: token,
    inject: [{ token: REGISTRY, optional: true }],
    useFactory: (registry?: ViewSource) => {
      if (!registry) throw new Error('BatchingModule is imported without forRoot()');
      return registry.view(type);
    },
  });
  for (const reference of views.sources) reference.deref()?.provideView(type, token);
  return token;
}

/** Injection token of the registry, for code that has another copy of this library, or does not import it. */
export const REGISTRY = 'BatchingRegistry of nest-batching';

/** Creates the views of one application; its registry. */
export interface ViewSource {
  view(type: Class): object;
  /** Adds the provider of a view that is first injected while the application runs. */
  provideView(type: Class, token: string): void;
}

/**
 * All views that classes of this process inject, with their providers. Every application scans the list when
 * it starts, so no view has to be registered. A view that is injected later is added to the running
 * applications.
 *
 * On `globalThis`, because an application may load this library twice, as ESM and as CommonJS.
 */
interface Views {
  readonly byClass: Map<Class, string>;
  readonly providers: FactoryProvider[];
  /** Weak references, so that an application that is never closed, as in tests, can be garbage-collected. */
  readonly sources: Set<WeakRef<ViewSource>>;
}

const VIEWS = Symbol.for('nest-batching:views');

export const views: Views = ((globalThis as { [VIEWS]?: Views })[VIEWS] ??= {
  byClass: new Map(),
  providers: [],
  sources: new Set(),
});
