import { show } from '../core/checks.js';
import { marksOf, marksOn, methodName } from './marks.js';
import type { NestModules } from './nest-modules.js';
import { type Class, REGISTRY, views } from './views.js';

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

  /**
   * Sentences about marked classes that are not provided under the class itself, so that no view of them
   * exists.
   */
  *unreachable(): Generator<string> {
    const reachable = new Set<unknown>();
    const marked = new Map<unknown, unknown>();
    for (const { token, instance } of this.modules.providers()) {
      if (isClass(token)) reachable.add(instance);
      else if (marksOn(instance, Object).size > 0) marked.set(instance, token);
    }
    for (const [instance, token] of marked) {
      if (reachable.has(instance)) continue;
      const { name } = (instance as object).constructor;
      yield (
        `${name} has marked methods, but is provided under ${nameOfToken(token)} only, and a view is found by its class: ` +
        `nothing of it is batched; add { provide: ${name}, useExisting: ${sourceOfToken(token)} } to the providers`
      );
    }
  }

  /** The classes that have marked methods or whose view is injected. */
  batchedClasses(): Set<Class> {
    const classes = new Set<Class>();
    for (const { token, instance } of this.modules.providers()) {
      if (isClass(token) && marksOn(instance, token).size > 0) classes.add(token);
    }
    for (const type of views.byClass.keys()) {
      if (this.#injectorsOf(type).length > 0) classes.add(type);
    }
    return classes;
  }

  /** @throws Error if there is not exactly one instance, with the reason and what to do */
  instanceOf(type: Class): object {
    const found = [...this.modules.providers()].filter(({ token }) => token === type);
    if (found.length === 0) {
      const others = this.#otherTokens((instance) => instance instanceof type);
      throw new Error(
        others.length === 0
          ? `no module provides ${this.describe(type)}; add it to the providers of one`
          : `${this.describe(type)} is provided under ${others.map(nameOfToken).join(' and ')} only, and a view is ` +
              `found by its class; add { provide: ${type.name}, useExisting: ${sourceOfToken(others[0])} } to the providers`,
      );
    }
    const scope = found.map((provided) => provided.scope).find((words) => words !== undefined);
    if (scope) {
      throw new Error(
        `${type.name} is ${scope}, and inputs of different instances cannot share a batch; ` +
          'make it a singleton, and let the input carry what belongs to one request',
      );
    }
    const [instance, ...others] = new Set(found.map((provided) => provided.instance));
    if (others.length > 0) {
      throw new Error(
        `${type.name} is provided by ${found.map(({ module }) => module).join(' and ')}, each with an instance of its ` +
          'own, and inputs of different instances cannot share a batch; provide it in one module and export it from there',
      );
    }
    if (!found.every(({ isReady }) => isReady)) {
      throw new Error(`${type.name} is used before Nest has created it; use its view from onModuleInit on`);
    }
    if (typeof instance !== 'object' || instance === null) {
      throw new TypeError(`${type.name}: expected an instance to be provided, got ${show(instance)}`);
    }
    return instance;
  }

  /** The name of the class that provides the instance; for an alias (`useExisting`) that is not `type`. */
  nameOf(type: Class, instance: object): string {
    for (const provided of this.modules.providers()) {
      const { token, isAlias } = provided;
      if (isClass(token) && provided.instance === instance && !isAlias) return token.name;
    }
    return type.name;
  }

  /** `DigitClassifier (whose view is injected into DigitsController)` */
  describe(type: Class): string {
    const injectors = this.#injectorsOf(type);
    return injectors.length > 0
      ? `${type.name} (whose view is injected into ${injectors.join(' and ')})`
      : type.name;
  }

  #injectorsOf(type: Class): string[] {
    return this.modules.injectorsOf(views.byClass.get(type));
  }

  /** The tokens of the providers with such an instance. */
  #otherTokens(isInstance: (instance: unknown) => boolean): unknown[] {
    return [...this.modules.providers()].flatMap(({ token, instance }) =>
      isInstance(instance) ? [token] : [],
    );
  }
}

/** A token as text for a message. */
function nameOfToken(token: unknown): string {
  return isClass(token) ? token.name : typeof token === 'string' ? `'${token}'` : String(token);
}

/** A token as it would be written in source code. */
function sourceOfToken(token: unknown): string {
  return isClass(token) || typeof token === 'string' ? nameOfToken(token) : 'that token';
}

function isClass(token: unknown): token is Class {
  return typeof token === 'function' && typeof token.prototype === 'object';
}
