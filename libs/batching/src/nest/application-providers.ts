import type { SerializedGraph } from '@nestjs/core';
import { show } from '../core/checks.js';
import { marksOf, marksOn, methodName } from './marks.js';
import type { NestModules } from './nest-modules.js';
import { isClass, REGISTRY, showToken, tokenName, typeOf, type ViewKey, views } from './views.js';

/**
 * The providers of one application: finds the classes with marked methods and their instances. Its errors
 * name the provider that cannot be batched, and the reason.
 */
export class ApplicationProviders {
  constructor(private readonly modules: NestModules) {}

  /** Provides a view as if it had been in the list that Nest scanned. */
  addView(token: string, view: object): void {
    this.modules.provide(token, view, REGISTRY);
  }

  /** Draws the provider behind a view into the graph for Nest's devtools. */
  draw(graph: SerializedGraph, token: string, key: ViewKey): void {
    this.modules.draw(graph, token, key);
  }

  /** Puts hooks that use a view behind those of its provider, where Nest can order them. */
  orderHooks(): void {
    this.modules.orderHooks(new Map(Array.from(views.byKey, ([key, token]) => [token, key])));
  }

  /** The name of the module that provides it. */
  moduleOf(key: ViewKey): string {
    const provided = [...this.modules.providers()].find(({ token }) => token === key);
    return provided?.module ?? 'its module';
  }

  /** Sentences about imports of `forRoot()` and marked methods that are in a wrong place. */
  *misplacements(): Generator<string> {
    const roots = this.modules.count(REGISTRY);
    if (roots > 1) {
      yield (
        `BatchingModule.forRoot() is imported ${roots} times, and each import has queues of its own; ` +
        'import it once, in the root module'
      );
    }
    for (const controller of this.modules.controllers().filter(isClass)) {
      for (const [key, { decorator }] of marksOf(controller.prototype as object)) {
        yield (
          `${methodName(controller.name, key)} is marked with ${decorator}, but a controller's methods are called ` +
          'by Nest, once per request; move it to a provider and inject that with @InjectBatched()'
        );
      }
    }
  }

  /** Sentences about marked instances of which no view exists: neither of their class nor of their token. */
  *unreachable(): Generator<string> {
    const reachable = new Set<unknown>();
    const marked = new Map<unknown, unknown>();
    for (const { token, instance } of this.modules.providers()) {
      if (isClass(token) || views.byKey.has(token as ViewKey)) reachable.add(instance);
      else if (marksOn(instance, Object).size > 0) marked.set(instance, token);
    }
    for (const [instance, token] of marked) {
      if (reachable.has(instance)) continue;
      const { name } = (instance as object).constructor;
      yield (
        `${name} has marked methods, but is provided under ${showToken(token)} only, and a view is found by its class: ` +
        `nothing of it is batched; add { provide: ${name}, useExisting: ${sourceOfToken(token)} } to the providers, ` +
        `or inject the view of the token, @InjectBatched(${sourceOfToken(token)}, ${name})`
      );
    }
  }

  /** The providers whose class is marked, and those whose view is injected. */
  batched(): Set<ViewKey> {
    const keys = new Set<ViewKey>();
    for (const { token, instance } of this.modules.providers()) {
      const hasView = isClass(token) || views.byKey.has(token as ViewKey);
      if (hasView && marksOn(instance, typeOf(token as ViewKey, instance)).size > 0)
        keys.add(token as ViewKey);
    }
    for (const key of views.byKey.keys()) {
      if (this.#injectorsOf(key).length > 0) keys.add(key);
    }
    return keys;
  }

  /** The instance of what is provided; `undefined` if there is none, or not exactly one. */
  find(key: ViewKey): object | undefined {
    try {
      return this.instanceOf(key);
    } catch {
      return undefined;
    }
  }

  /** @throws Error if there is not exactly one instance, with the reason and what to do */
  instanceOf(key: ViewKey): object {
    const found = [...this.modules.providers()].filter(({ token }) => token === key);
    const name = showToken(key);
    if (found.length === 0) {
      const type = typeOf(key);
      const others = isClass(key) ? this.#otherTokens((instance) => instance instanceof key) : [];
      const add = isClass(key)
        ? 'it'
        : `{ provide: ${sourceOfToken(key)}, useClass: ${type === Object ? '…' : type.name} }`;
      throw new Error(
        others.length === 0
          ? `no module provides ${this.describe(key)}; add ${add} to the providers of one`
          : `${this.describe(key)} is provided under ${others.map(showToken).join(' and ')} only, and a view is ` +
              `found by its class; add { provide: ${type.name}, useExisting: ${sourceOfToken(others[0])} } to the providers, ` +
              `or inject the view of the token, @InjectBatched(${sourceOfToken(others[0])}, ${type.name})`,
      );
    }
    const scope = found.map((provided) => provided.scope).find((words) => words !== undefined);
    if (scope) {
      throw new Error(
        `${name} is ${scope}, and inputs of different instances cannot share a batch; ` +
          'make it a singleton, and let the input carry what belongs to one request',
      );
    }
    const [instance, ...others] = new Set(found.map((provided) => provided.instance));
    if (others.length > 0) {
      throw new Error(
        `${name} is provided by ${found.map(({ module }) => module).join(' and ')}, each with an instance of its ` +
          'own, and inputs of different instances cannot share a batch; provide it in one module and export it from there',
      );
    }
    if (!found.every(({ isReady }) => isReady)) {
      throw new Error(`${name} is used before Nest has created it; use its view from onModuleInit on`);
    }
    if (typeof instance !== 'object' || instance === null) {
      throw new TypeError(`${name}: expected an instance to be provided, got ${show(instance)}`);
    }
    return instance;
  }

  /** The name of the provider that provides the instance, its class first; for an alias (`useExisting`) that is not `key`. */
  nameOf(key: ViewKey, instance: object): string {
    const tokens = [...this.modules.providers()]
      .filter((provided) => provided.instance === instance && !provided.isAlias)
      .map(({ token }) => token as ViewKey);
    return tokenName(tokens.find(isClass) ?? tokens[0] ?? key);
  }

  /** `DigitClassifier (whose view is injected into DigitsController)` */
  describe(key: ViewKey): string {
    const injectors = this.#injectorsOf(key);
    return injectors.length > 0
      ? `${showToken(key)} (whose view is injected into ${injectors.join(' and ')})`
      : showToken(key);
  }

  #injectorsOf(key: ViewKey): string[] {
    return this.modules.injectorsOf(views.byKey.get(key));
  }

  /** The tokens of the providers with such an instance. */
  #otherTokens(isInstance: (instance: unknown) => boolean): unknown[] {
    return [...this.modules.providers()].flatMap(({ token, instance }) =>
      isInstance(instance) ? [token] : [],
    );
  }
}

/** A token as it would be written in source code. */
function sourceOfToken(token: unknown): string {
  return isClass(token) || typeof token === 'string' ? showToken(token) : 'that token';
}
