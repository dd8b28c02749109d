import type { FactoryProvider } from '@nestjs/common';

/** A class, abstract or not. */
export type Class<C = object> = abstract new (...args: never) => C;

/**
 * The token of a class's view: to provide a fake in a test, to inject the view into a factory, or for `app.get()`.
 *
 * @returns a string, as Nest cannot print a symbol in each of its messages; two classes of one name have two
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

/** The registry of the application, for code that does not import this library, or has another copy of it. */
export const REGISTRY = 'BatchingRegistry of nest-batching';

/** What makes the views of one application. */
export interface ViewSource {
  view(type: Class): object;
  /** Takes in a class that was first asked for while the application was running. */
  provideView(type: Class, token: string): void;
}

/**
 * All views that any class of this process asks for: one list, whose providers every application scans when it starts, so
 * that nothing has to be registered. A class that is loaded later is provided to the applications that run.
 *
 * On `globalThis`, because an application may load this library twice, as ESM and as CommonJS.
 */
interface Views {
  readonly byClass: Map<Class, string>;
  readonly providers: FactoryProvider[];
  /** Weak, so that this list does not keep an application that is never closed, as in a test, in memory. */
  readonly sources: Set<WeakRef<ViewSource>>;
}

const VIEWS = Symbol.for('nest-batching:views');

export const views: Views = ((globalThis as { [VIEWS]?: Views })[VIEWS] ??= {
  byClass: new Map(),
  providers: [],
  sources: new Set(),
});
