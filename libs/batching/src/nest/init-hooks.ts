import { isThenable } from '../core/thenable.js';

type Hook = (...parameters: unknown[]) => unknown;

/** Why a provider takes no inputs yet, as words for a message. */
export type NotInitialised = 'has not run' | 'is still running';

/** Knows of batched providers whether their `onModuleInit` has run. It watches each until it has been called once. */
export class InitHooks {
  readonly #states = new Map<object, NotInitialised>();

  /** Watches the hook of an instance, if it has one. */
  watch(instance: object): void {
    const hook: unknown = Reflect.get(instance, 'onModuleInit');
    if (typeof hook !== 'function' || this.#states.has(instance)) return;
    const own = Reflect.getOwnPropertyDescriptor(instance, 'onModuleInit');
    const value = (...parameters: unknown[]): unknown => {
      if (own) Reflect.defineProperty(instance, 'onModuleInit', own);
      else Reflect.deleteProperty(instance, 'onModuleInit');
      return this.#run(instance, hook as Hook, parameters);
    };
    // Not possible on a frozen instance, whose batches then run at any time.
    const isWatched = Reflect.defineProperty(instance, 'onModuleInit', {
      value,
      configurable: true,
      writable: true,
    });
    if (isWatched) this.#states.set(instance, 'has not run');
  }

  get areAllOver(): boolean {
    return this.#states.size === 0;
  }

  stateOf(instance: object): NotInitialised | undefined {
    return this.#states.get(instance);
  }

  /** Nest has called all hooks that it calls. */
  end(): void {
    this.#states.clear();
  }

  #run(instance: object, hook: Hook, parameters: unknown[]): unknown {
    const end = (): void => void this.#states.delete(instance);
    this.#states.set(instance, 'is still running');
    try {
      const result = Reflect.apply(hook, instance, parameters);
      if (!isThenable(result)) end();
      else result.then(end, end);
      return result;
    } catch (error) {
      end();
      throw error;
    }
  }
}
