import { Scope } from '@nestjs/common';
import { createContextId, type ModulesContainer } from '@nestjs/core';

type NestModule = ModulesContainer extends Map<string, infer M> ? M : never;
type Wrapper = ReturnType<NestModule['getProviderByKey']>;

/**
 * The modules of one application. This is the only file that uses what Nest does not document as public API:
 * the modules in `ModulesContainer` with their lists and `addProvider`, and the wrappers of providers.
 * `DiscoveryService` would list the same wrappers, but no guards, interceptors and pipes, and it cannot add a
 * provider.
 *
 * Nothing is cached, because modules may be loaded lazily.
 */
export class NestModules {
  constructor(private readonly modules: ModulesContainer) {}

  *providers(): Generator<Provided> {
    for (const { name, providers } of this.modules.values()) {
      for (const [token, wrapper] of providers) yield new Provided(token, name, wrapper);
    }
  }

  /** The tokens of all controllers, which are their classes. */
  controllers(): unknown[] {
    return [...this.modules.values()].flatMap(({ controllers }) => [...controllers.keys()]);
  }

  /** The number of modules that provide a token. */
  count(token: string): number {
    return this.#providing(token).length;
  }

  /**
   * Adds a provider of a value to every module that provides `beside`, and exports it, after Nest has scanned
   * them.
   */
  provide(token: string, value: object, beside: string): void {
    for (const module of this.#providing(beside)) {
      if (module.providers.has(token)) continue;
      module.addProvider({ provide: token, useValue: value });
      module.addExportedProviderOrModule(token);
    }
  }

  /**
   * The names of the classes and factories into which a token is injected: providers, controllers, guards and
   * the like.
   */
  injectorsOf(token: unknown): string[] {
    const wrappers = [...this.modules.values()].flatMap(({ providers, controllers, injectables }) => [
      ...providers.values(),
      ...controllers.values(),
      ...injectables.values(),
    ]);
    return wrappers
      .filter((wrapper) => dependenciesOf(wrapper).some((dependency) => dependency.token === token))
      .map(({ name }) => String(name));
  }

  /**
   * The names along a circle of dependencies that leads from a provider back to it, with its own at both
   * ends; `undefined` if there is none among those that Nest has come upon so far.
   */
  circleThrough(token: string): string[] | undefined {
    const start = this.#providing(token)[0]?.providers.get(token);
    const seen = new Set<Wrapper>();
    const path: string[] = [];
    const leadsBack = (wrapper: Wrapper): boolean => {
      path.push(String(wrapper.name));
      for (const dependency of dependenciesOf(wrapper)) {
        if (dependency === start) return true;
        if (seen.has(dependency)) continue;
        seen.add(dependency);
        if (leadsBack(dependency)) return true;
      }
      path.pop();
      return false;
    };
    return start && leadsBack(start) ? [...path, token] : undefined;
  }

  #providing(token: string): NestModule[] {
    return [...this.modules.values()].filter(({ providers }) => providers.has(token));
  }
}

/** A provider in one module. */
export class Provided {
  constructor(
    readonly token: unknown,
    /** Name of the module. */
    readonly module: string,
    private readonly wrapper: Wrapper,
  ) {}

  /**
   * The instance. If the provider is not a singleton, or not created yet, it is an empty object with its
   * prototype, or `undefined` or `null`.
   */
  get instance(): unknown {
    return this.wrapper.instance;
  }

  /** Whether it is an alias of another provider (`useExisting`). */
  get isAlias(): boolean {
    return this.wrapper.isAlias;
  }

  /** Whether Nest has created the instance. */
  get isReady(): boolean {
    return Boolean(this.wrapper.getInstanceByContextId(createContextId()).isResolved);
  }

  /** `transient`, `request-scoped` or the like, for a message; `undefined` for a singleton. */
  get scope(): string | undefined {
    const { wrapper } = this;
    if (wrapper.isTransient) return 'transient';
    if (wrapper.isDependencyTreeStatic()) return undefined;
    if (wrapper.scope === Scope.REQUEST) return 'request-scoped';
    const cause = dependenciesOf(wrapper).find((dependency) => !dependency.isDependencyTreeStatic());
    return `request-scoped through its dependency ${String(cause?.name)}`;
  }
}

/** Both lists may be undefined, although Nest declares them as present. */
function dependenciesOf(wrapper: Wrapper): Wrapper[] {
  const parameters = wrapper.getCtorMetadata() as Wrapper[] | undefined;
  const properties = wrapper.getPropertiesMetadata() as { wrapper: Wrapper }[] | undefined;
  return [...(parameters ?? []), ...(properties ?? []).map((property) => property.wrapper)];
}
