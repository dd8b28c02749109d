import { setImmediate } from 'node:timers/promises';
import { ConfigurableModuleBuilder, type DynamicModule, Module } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { BatchingRegistry } from './batching-registry.js';
import {
  type BatchingModuleOptions,
  type BatchingNodeOptions,
  NODE_OPTIONS,
  OPTIONS,
} from './module-options.js';
import { NestModules } from './nest-modules.js';
import { REGISTRY, views } from './views.js';

/** Creates the options of `BatchingModule.forRootAsync({ useClass })` and `({ useExisting })`. */
export interface BatchingOptionsFactory {
  createBatchingOptions(): BatchingModuleOptions | Promise<BatchingModuleOptions>;
}

const CIRCLE = 'check of BatchingModule.forRootAsync()';

/**
 * Nest 11 waits for ever when the options need a view, whose registry needs the options; Nest 12 says so
 * itself. By the next turn Nest has come upon all that needs no asynchronous factory before it.
 */
async function refuseCircle(modules: ModulesContainer): Promise<void> {
  await setImmediate();
  const circle = new NestModules(modules).circleThrough(OPTIONS);
  if (!circle) return;
  throw new Error(
    `a circular dependency, ${circle.map((name) => `"${name}"`).join(' -> ')}: ` +
      'what makes the options cannot use a view, since queues are made of the options',
  );
}

const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<BatchingModuleOptions>({
  optionsInjectionToken: OPTIONS,
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createBatchingOptions')
  .setExtras<BatchingNodeOptions>(
    { remote: undefined, serve: undefined },
    (definition, { remote, serve }) => ({
      ...definition,
      global: true,
      providers: [
        ...(definition.providers ?? []),
        { provide: NODE_OPTIONS, useValue: { remote, serve } },
        BatchingRegistry,
        { provide: REGISTRY, useExisting: BatchingRegistry },
        { provide: CIRCLE, inject: [ModulesContainer], useFactory: refuseCircle },
      ],
      exports: [BatchingRegistry, REGISTRY],
    }),
  )
  .build();

/**
 * Batches the marked methods of an application's providers. Import it once, in the root module, with
 * `forRoot()` or `forRootAsync()`; it is global, and nothing else needs to be registered.
 *
 * When the application closes, waiting inputs leave without delay, requests in flight still get their
 * results, and then the queues stop.
 */
// The list is passed by reference: Nest reads it when it scans the modules, after all decorators have added
// to it.
@Module({ providers: views.providers, exports: views.providers })
export class BatchingModule extends ConfigurableModuleClass {
  /**
   * @param options defaults and overrides of all queues, the time for the shutdown, and what is on other nodes;
   *   default: none
   * @returns the module to import. Invalid options make the start of the application fail with a TypeError or
   *   RangeError
   */
  static override forRoot(options: BatchingModuleOptions & BatchingNodeOptions = {}): DynamicModule {
    return super.forRoot(options);
  }
}
