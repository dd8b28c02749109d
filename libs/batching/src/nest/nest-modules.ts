import { Scope } from '@nestjs/common';
import { createContextId, type ModulesContainer, type SerializedGraph } from '@nestjs/core';

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
    return this.#wrappers()
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

  /**
   * Draws a dependency that Nest does not know of into the graph for its devtools: what is provided under `from` uses what is
   * provided under `to`.
   */
  draw(graph: SerializedGraph, from: string, to: unknown): void {
    for (const source of this.#wrappersOf(from)) {
      for (const target of this.#wrappersOf(to)) {
        graph.insertEdge({
          // Of its own, as the graph would keep a list of all ids that it makes.
          id: `${source.id}-${target.id}`,
          source: source.id,
          target: target.id,
          metadata: {
            type: 'class-to-class',
            sourceModuleName: String(source.host?.name),
            sourceClassName: String(source.name),
            targetClassName: String(target.name),
            sourceClassToken: source.token,
            targetClassToken: target.token,
            targetModuleName: String(target.host?.name),
            injectionType: 'property',
          },
        });
      }
    }
  }

  /**
   * Calls back when all instances are there, before the first lifecycle hook of the application: Nest calls the hooks of its own
   * module first, since it is global and is scanned first.
   */
  beforeHooks(callback: () => void): void {
    const [core] = this.modules.values();
    core?.addProvider({
      provide: 'first hook for BatchingModule.forRoot()',
      useValue: { onModuleInit: callback },
    });
  }

  /**
   * Puts the hooks of providers that use a view behind those of what is behind it, within their modules. Nest 12 calls the hooks
   * of a module by levels, a provider's after those of its dependencies; Nest 11 has no levels.
   *
   * @param behind for the token of each view, the token of what it shows
   */
  orderHooks(behind: ReadonlyMap<unknown, unknown>): void {
    const seen = new Set<Wrapper>();
    const levelOf = (wrapper: Wrapper): number => {
      // In a circle a provider is met again before its level is known: one of the circle has to come first.
      if (seen.has(wrapper)) return wrapper.hierarchyLevel;
      seen.add(wrapper);
      const shown = behind.get(wrapper.token);
      const dependencies = [
        ...dependenciesOf(wrapper),
        ...(shown === undefined ? [] : this.#wrappersOf(shown)),
      ];
      const levels = dependencies.map((dependency) => levelOf(dependency) + 1);
      return (wrapper.hierarchyLevel = Math.max(wrapper.hierarchyLevel, ...levels));
    };
    for (const wrapper of this.#wrappers()) {
      if (typeof (wrapper.hierarchyLevel as unknown) === 'number') levelOf(wrapper);
    }
  }

  #wrappers(): Wrapper[] {
    return [...this.modules.values()].flatMap(({ providers, controllers, injectables }) => [
      ...providers.values(),
      ...controllers.values(),
      ...injectables.values(),
    ]);
  }

  #wrappersOf(token: unknown): Wrapper[] {
    return [...this.modules.values()].flatMap(({ providers }) => {
      const wrapper = providers.get(token as string);
      return wrapper ? [wrapper] : [];
    });
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
