import type { SerializedGraph } from '@nestjs/core';
import type { BatchFunction } from '../core/batch-function.js';
import { BatchQueue } from '../core/batch-queue.js';
import { naming } from '../core/checks.js';
import { SerialQueue } from '../core/serial-queue.js';
import { ApplicationProviders } from './application-providers.js';
import { type Batched, createView, toMethod } from './batched-view.js';
import { InitHooks } from './init-hooks.js';
import { type Mark, marksOf, marksOn, methodName } from './marks.js';
import {
  type BatchingModuleOptions,
  describeRemote,
  describeSettings,
  FOR_ROOT,
  mergeOptions,
} from './module-options.js';
import type { NestModules } from './nest-modules.js';
import type { Nodes } from './nodes.js';
import { type Class, isClass, showToken, tokenName, typeOf, type ViewKey } from './views.js';

type Queue = BatchQueue<unknown, unknown>;
type Methods = ReadonlyMap<PropertyKey, unknown>;

/** The application's queues, by name. */
export interface Queues {
  has(name: string): boolean;
  /** @param settings its settings and where they were set, for the log */
  add(queue: Queue, settings: string): void;
}

/**
 * The views of one application: one per class, and one queue per marked method of an instance, which all
 * views of that instance share.
 */
export class ApplicationViews {
  readonly #providers: ApplicationProviders;
  readonly #methods = new Map<object, Methods>();
  readonly #views = new Map<ViewKey, object>();
  readonly #hooks = new InitHooks();

  constructor(
    private readonly options: BatchingModuleOptions,
    modules: NestModules,
    private readonly graph: SerializedGraph,
    private readonly queues: Queues,
    private readonly nodes: Nodes,
  ) {
    this.#providers = new ApplicationProviders(modules);
  }

  view<C extends object>(key: Class<C> | string | symbol): Batched<C> {
    let view = this.#views.get(key);
    if (!view) {
      const { prototype } = typeOf(key) as { prototype: object };
      view = createView({ name: tokenName(key), prototype }, () => this.#methodsOf(key));
      this.#views.set(key, view);
    }
    return view as Batched<C>;
  }

  /** Adds a provider of the view after Nest has scanned the modules. */
  provide(key: ViewKey, token: string): void {
    this.#providers.addView(token, this.view(key));
    this.#providers.draw(this.graph, token, key);
  }

  /**
   * Builds the queues of all providers that have marked methods or whose view is injected.
   *
   * @returns warnings: what works, but probably not as intended
   * @throws Error that lists every problem, with the names of the classes
   */
  build(): string[] {
    const problems = [...this.#providers.misplacements()];
    const { remoteOnly, served } = this.nodes;
    for (const key of new Set([...remoteOnly, ...served, ...this.#providers.batched()])) {
      try {
        this.#methodsOf(key);
      } catch (error) {
        problems.push((error as Error).message + this.nodes.hintFor(key));
      }
    }
    if (problems.length > 0) throw new Error(['nest-batching cannot start', ...problems].join('\n- '));
    return [...this.#providers.unreachable()];
  }

  /** Has batches of providers with an `onModuleInit` run after it. To be called when all instances are there. */
  watchHooks(): void {
    for (const key of this.#providers.batched()) {
      try {
        this.#hooks.watch(this.#providers.instanceOf(key));
      } catch {
        // Reported by build(), with all else that is wrong.
      }
    }
    if (!this.#hooks.areAllOver) this.#providers.orderHooks();
  }

  /** Nest has called `onModuleInit` of all providers. */
  endHooks(): void {
    this.#hooks.end();
  }

  /** Why a provider cannot take an input yet. Waiting instead could wait for ever, for a hook that waits for the result. */
  #refusal(key: ViewKey, owner: string, instance: object, name: string): Error | undefined {
    if (this.#hooks.areAllOver) return undefined;
    const state = this.#hooks.stateOf(instance);
    if (!state) return undefined;
    const within =
      state === 'has not run' ? '' : 'within that hook call the method itself, with all it takes; elsewhere ';
    return new Error(
      `${name} is used while onModuleInit() of ${owner} ${state}; ${within}import ${this.#providers.moduleOf(key)} into the ` +
        'module whose hook uses it, so that Nest initialises it first, or use it from onApplicationBootstrap() on',
    );
  }

  #methodsOf(key: ViewKey): Methods {
    if (this.nodes.remoteOnly.has(key)) return this.#remoteMethodsOf(key);
    const instance = this.#providers.instanceOf(key);
    let methods = this.#methods.get(instance);
    if (!methods) {
      methods = this.#buildMethods(key, instance);
      this.#methods.set(instance, methods);
    }
    return methods;
  }

  #buildMethods(viewKey: ViewKey, instance: object): Methods {
    const marks = marksOn(instance, typeOf(viewKey, instance));
    if (marks.size === 0) {
      throw new Error(
        `${this.#providers.describe(viewKey)} has no method marked with @BatchedService() or @SerialService(); ` +
          'mark one, or inject the class itself',
      );
    }
    const owner = this.#providers.nameOf(viewKey, instance);
    const servedAs = [...this.nodes.served].find(
      (key) => key === viewKey || this.#providers.find(key) === instance,
    );
    const queues = Array.from(marks, ([key, mark]) => {
      const name = this.#nameOf(viewKey, owner, key, mark);
      if (servedAs !== undefined) checkServiceName(name, mark);
      const queue = this.#buildQueue(viewKey, name, mark, instance, key);
      return [key, queue, mark] as const;
    });
    const methods = new Map<PropertyKey, unknown>();
    for (const [key, queue, mark] of queues) {
      const settings = describeSettings(this.options, mark, queue);
      this.queues.add(queue, servedAs === undefined ? settings : `${settings}; serves other nodes`);
      const refusal = (): Error | undefined => this.#refusal(viewKey, owner, instance, queue.name);
      if (servedAs === undefined) methods.set(key, toMethod(queue, refusal));
      else {
        this.nodes.add(queue);
        const isShared = this.nodes.isShared(servedAs);
        methods.set(key, toMethod(queue, refusal, isShared ? this.nodes.overflow(queue) : queue));
      }
    }
    return methods;
  }

  /** The methods of a class that other nodes serve: of its marks alone, for there need be no instance here. */
  #remoteMethodsOf(viewKey: ViewKey): Methods {
    const type = typeOf(viewKey);
    let methods = this.#methods.get(type);
    if (methods) return methods;
    const marks = marksOf(type.prototype as object);
    if (marks.size === 0) {
      throw new Error(
        `${showToken(viewKey)} is listed in remote, and has no method marked with @BatchedService() or @SerialService()`,
      );
    }
    methods = new Map(
      Array.from(marks, ([key, mark]) => {
        const name = this.#nameOf(viewKey, tokenName(viewKey), key, mark);
        checkServiceName(name, mark);
        if (this.queues.has(name)) throw new Error(sameName(name, viewKey));
        const queue = naming(`${FOR_ROOT}: queues['${name}']`, () =>
          this.nodes.remoteQueue(mergeOptions(this.options, mark, name)),
        );
        this.queues.add(queue, describeRemote(this.options, mark, queue));
        return [key, toMethod(queue)];
      }),
    );
    this.#methods.set(type, methods);
    return methods;
  }

  /** The name of a queue, which is that of its service on the wire. */
  #nameOf(viewKey: ViewKey, owner: string, key: PropertyKey, { options }: Mark): string {
    return isClass(viewKey) && options.name !== undefined ? options.name : methodName(owner, key);
  }

  #buildQueue(viewKey: ViewKey, name: string, mark: Mark, instance: object, key: PropertyKey): Queue {
    if (this.queues.has(name)) throw new Error(sameName(name, viewKey));
    const call = (...parameters: unknown[]): unknown => {
      const method: unknown = Reflect.get(instance, key);
      if (typeof method !== 'function')
        throw new TypeError(`${name}: the provided instance has no such method`);
      return Reflect.apply(method, instance, parameters);
    };
    return naming(`${FOR_ROOT}: queues['${name}']`, () => {
      const options = mergeOptions(this.options, mark, name);
      return mark.serial
        ? new SerialQueue<unknown, unknown>(call, options)
        : new BatchQueue<unknown, unknown>(call as BatchFunction<unknown, unknown>, options);
    });
  }
}

function sameName(name: string, viewKey: ViewKey): string {
  return isClass(viewKey)
    ? `two classes have a queue with the name ${name}; rename one of the classes${hintFor([name])}`
    : `two providers have a queue with the name ${name}; give ${showToken(viewKey)} or the other one another name`;
}

/** @throws Error for a name that another build of the same source might not have */
function checkServiceName(name: string, { options, decorator }: Mark): void {
  if (options.name !== undefined || !/^[\w$]{0,2}[.[]/.test(name)) return;
  throw new Error(
    `${name} is the name of a service between nodes, and looks minified: in another build it would be another one; ` +
      `name it yourself, in the options of ${decorator}: { name: 'digits.classify' }`,
  );
}

/** Advice for class names that look minified by a bundler; an empty string if they do not. */
export function hintFor(names: string[]): string {
  const areMinified = names.some((name) => /^[\w$]{0,3}[.[]/.test(name));
  if (!areMinified) return '';
  return (
    '. The names of classes look minified, and queues are named after them; let the bundler keep them ' +
    '(esbuild: keepNames, Terser and SWC: keep_classnames)'
  );
}
