import { Scope } from '@nestjs/common';
import { createContextId, type ModulesContainer } from '@nestjs/core';
import { show } from '../core/checks.js';
import { marksOf, marksOn, methodName } from './marks.js';
import { type Class, REGISTRY, views } from './views.js';

type NestModule = ModulesContainer extends Map<string, infer M> ? M : never;
type Wrapper = ReturnType<NestModule['getProviderByKey']>;

/**
 * The providers of one application, as Nest knows them: finds those with marked methods and their instances, and says
 * by name why one cannot be batched. Looks anew each time, because modules may be loaded lazily.
 */
export class ApplicationProviders {
  constructor(private readonly modules: ModulesContainer) {}

  /** Provides a view as if it had been in the list that Nest scanned. */
  addView(token: string, view: object): void {
    for (const module of this.modules.values()) {
      if (!module.providers.has(REGISTRY) || module.providers.has(token)) continue;
      module.addProvider({ provide: token, useValue: view });
      module.addExportedProviderOrModule(token);
    }
  }

  /** What stands where it must not, in sentences. */
  *misplacements(): Generator<string> {
    const modules = [...this.modules.values()];
    const roots = modules.filter(({ providers }) => providers.has(REGISTRY));
    if (roots.length > 1) {
      yield (
        `BatchingModule.forRoot() is imported ${roots.length} times, and inputs would not meet across them; ` +
        'import it once, in the root module'
      );
    }
    for (const controller of modules.flatMap(({ controllers }) => [...controllers.keys()]).filter(isClass)) {
      for (const [key, { decorator }] of marksOf(controller.prototype as object)) {
        yield (
          `${methodName(controller.name, key)} is marked with ${decorator}, but a controller's methods are called ` +
          'by Nest, once per request; move it to a provider and inject that with @InjectBatched()'
        );
      }
    }
  }

  /** Marked classes of which no view can be had, in sentences. */
  *unreachable(): Generator<string> {
    const reachable = new Set<unknown>();
    const marked = new Map<unknown, unknown>();
    for (const { token, wrapper } of this.#all()) {
      if (isClass(token)) reachable.add(wrapper.instance);
      else if (marksOn(wrapper.instance, Object).size > 0) marked.set(wrapper.instance, token);
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
    for (const { token, wrapper } of this.#all()) {
      if (isClass(token) && marksOn(wrapper.instance, token).size > 0) classes.add(token);
    }
    for (const type of views.byClass.keys()) {
      if (this.#injectorsOf(type).length > 0) classes.add(type);
    }
    return classes;
  }

  /** @throws Error if there is not exactly one instance, with the reason and what to do */
  instanceOf(type: Class): object {
    const found = [...this.#all()].filter(({ token }) => token === type);
    if (found.length === 0) {
      const others = this.#otherTokens((instance) => instance instanceof type);
      throw new Error(
        others.length === 0
          ? `no module provides ${this.describe(type)}; add it to the providers of one`
          : `${this.describe(type)} is provided under ${others.map(nameOfToken).join(' and ')} only, and a view is ` +
              `found by its class; add { provide: ${type.name}, useExisting: ${sourceOfToken(others[0])} } to the providers`,
      );
    }
    const scope = found.map(({ wrapper }) => scopeOf(wrapper)).find((words) => words !== undefined);
    if (scope) {
      throw new Error(
        `${type.name} is ${scope}, and inputs that meet a new instance each can never meet each other; ` +
          'make it a singleton, and let the input carry what belongs to one request',
      );
    }
    const [instance, ...others] = new Set(found.map(({ wrapper }) => wrapper.instance));
    if (others.length > 0) {
      throw new Error(
        `${type.name} is provided by ${found.map(({ module }) => module).join(' and ')}, each with an instance of its ` +
          'own, and inputs would not meet across them; provide it in one module and export it from there',
      );
    }
    if (!found.every(({ wrapper }) => wrapper.getInstanceByContextId(createContextId()).isResolved)) {
      throw new Error(`${type.name} is used before Nest has made it; use its view from onModuleInit on`);
    }
    if (typeof instance !== 'object' || instance === null) {
      throw new TypeError(`${type.name}: expected an instance to be provided, got ${show(instance)}`);
    }
    return instance;
  }

  /** The name of the class that is provided; behind an alias (`useExisting`) that is another one. */
  nameOf(type: Class, instance: object): string {
    for (const { token, wrapper } of this.#all()) {
      if (isClass(token) && wrapper.instance === instance && !wrapper.isAlias) return token.name;
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
    const view = views.byClass.get(type);
    const wrappers = [...this.modules.values()].flatMap(({ providers, controllers, injectables }) => [
      ...providers.values(),
      ...controllers.values(),
      ...injectables.values(),
    ]);
    return wrappers
      .filter((wrapper) => dependenciesOf(wrapper).some(({ token }) => token === view))
      .map(({ name }) => String(name));
  }

  /** Under which tokens else a class is provided. */
  #otherTokens(isInstance: (instance: unknown) => boolean): unknown[] {
    return [...this.#all()].flatMap(({ token, wrapper }) => (isInstance(wrapper.instance) ? [token] : []));
  }

  *#all(): Generator<{ token: unknown; wrapper: Wrapper; module: string }> {
    for (const { name, providers } of this.modules.values()) {
      for (const [token, wrapper] of providers) yield { token, wrapper, module: name };
    }
  }
}

/** In words, what keeps a provider from being a singleton. */
function scopeOf(wrapper: Wrapper): string | undefined {
  if (wrapper.isTransient) return 'transient';
  if (wrapper.isDependencyTreeStatic()) return undefined;
  if (wrapper.scope === Scope.REQUEST) return 'request-scoped';
  const cause = dependenciesOf(wrapper).find((dependency) => !dependency.isDependencyTreeStatic());
  return `request-scoped through its dependency ${String(cause?.name)}`;
}

/** Nest declares both lists as always there, which they are not. */
function dependenciesOf(wrapper: Wrapper): Wrapper[] {
  const parameters = wrapper.getCtorMetadata() as Wrapper[] | undefined;
  const properties = wrapper.getPropertiesMetadata() as { wrapper: Wrapper }[] | undefined;
  return [...(parameters ?? []), ...(properties ?? []).map((property) => property.wrapper)];
}

/** A token in words. */
function nameOfToken(token: unknown): string {
  return isClass(token) ? token.name : typeof token === 'string' ? `'${token}'` : String(token);
}

/** A token as it may stand in source code. */
function sourceOfToken(token: unknown): string {
  return isClass(token) || typeof token === 'string' ? nameOfToken(token) : 'that token';
}

function isClass(token: unknown): token is Class {
  return typeof token === 'function' && typeof token.prototype === 'object';
}
