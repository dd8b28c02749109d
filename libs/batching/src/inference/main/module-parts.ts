import { existsSync } from 'node:fs';
import {
  type DynamicModule,
  type InjectionToken,
  type ModuleMetadata,
  type OptionalFactoryDependency,
  type Type,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { InferencePool } from './inference-pool.js';
import type { InferenceRuntime } from './inference-runtime.js';
import { type InferenceModelOptions, type ModelSource, readModelSource } from './model-source.js';
import type { PooledModel } from './pooled-model.js';

/** The options of `forRoot()` that every runtime takes. */
export interface InferenceModuleOptions {
  /**
   * Longest time in milliseconds that the inference worker may take for a batch: above 0, or `Infinity`;
   * always at least three times the longest batch so far. After that the worker is ended, its batches reject
   * with an `InferenceWorkerError`, and a new worker is started; if it cannot be ended, see `unresponsive` of
   * the model. Loading and warming up may take any time, and a pause of the whole process (SIGSTOP) does not
   * count. Default 30,000.
   */
  heartbeat?: number;
  /**
   * Number of inference workers, each with all models: a whole number from 1 to 256. A batch that finds
   * several workers idle is split over them if that has been faster so far; batches that run at the same time
   * run in different workers. `auto` is one for each core that pays where a worker computes on one core (`wasm`
   * and `cpu` of TensorFlow.js, `cpu` of ONNX Runtime): of the CPUs that the process may use (affinity, quota of
   * its cgroup) both of two, all but one of more, at most eight; else one, and one with `NODE_ENV=test`. Default:
   * `auto`.
   */
  workers?: number | 'auto';
}

/** The options of `forRootAsync()`: a factory of the options, and what to inject into it. */
export interface InferenceModuleAsyncOptions<Options> extends Pick<ModuleMetadata, 'imports'> {
  inject?: (InjectionToken | OptionalFactoryDependency)[];
  useFactory: (...args: never[]) => Options | Promise<Options>;
}

// Tokens are strings, because the library may be loaded twice, as ESM and as CommonJS, and some messages of
// Nest cannot print a symbol.

export { REGISTRY } from '../../core/application.js';

/** The part of `BatchingRegistry` that is used here. */
export interface Queues {
  stop: () => Promise<unknown>;
  /** Milliseconds left of `shutdownTimeout`. */
  readonly shutdownTimeLeft: number;
}

/** @returns the token of the workers that `forRoot()` of the runtime's module opens */
export function poolToken({ module }: InferenceRuntime): string {
  return `InferencePool of ${module}.forRoot()`;
}

/**
 * @param open checks the options, and starts the workers
 * @returns what `forRootAsync()` of the runtime's module returns
 */
export function rootModule<Options>(
  runtime: InferenceRuntime,
  module: Type,
  { imports, inject, useFactory }: InferenceModuleAsyncOptions<Options>,
  open: (options: Options) => Promise<InferencePool>,
): DynamicModule {
  const options = `options of ${runtime.module}.forRoot()`;
  const openOnce = (given: Options, modules: ModulesContainer): Promise<InferencePool> => {
    if ([...modules.values()].filter(({ metatype }) => metatype === module).length > 1) {
      throw new runtime.ModuleError(
        `${runtime.module}.forRoot() is imported twice: import it once, in the root module`,
      );
    }
    return open(given);
  };
  return {
    module,
    imports,
    providers: [
      { provide: options, inject, useFactory },
      { provide: poolToken(runtime), inject: [options, ModulesContainer], useFactory: openOnce },
    ],
    exports: [poolToken(runtime)],
  };
}

/**
 * @param tokenOf the injection token of a model of this name
 * @param create makes the injected object of a loaded model
 * @returns what `forFeature()` of the runtime's module returns
 * @throws {TypeError | RangeError} for an invalid option
 * @throws the runtime's `ModuleError` for a name with two paths
 */
export function featureModule(
  runtime: InferenceRuntime,
  module: Type,
  models: readonly InferenceModelOptions[],
  tokenOf: (name: string) => string,
  create: (pool: InferencePool, name: string, model: PooledModel) => unknown,
): DynamicModule {
  const sources = models.map((model) => ({
    name: model.name,
    source: readModelSource(`${runtime.module}.forFeature`, model),
  }));
  for (const { name, path } of models) {
    if (models.some((other) => other.name === name && other.path !== path)) {
      throw new runtime.ModuleError(
        `${runtime.module}.forFeature: model '${name}' is listed twice, with different paths`,
      );
    }
  }
  const load = async (
    pool: InferencePool | undefined,
    name: string,
    source: ModelSource,
  ): Promise<unknown> => {
    if (!pool) {
      throw new runtime.ModuleError(
        `model '${name}' needs ${runtime.module}.forRoot() among the imports of the root module`,
      );
    }
    return create(pool, name, await pool.load(name, source));
  };
  return {
    module,
    providers: sources.map(({ name, source }) => ({
      provide: tokenOf(name),
      // Optional, for a better error message than Nest's.
      inject: [{ token: poolToken(runtime), optional: true }],
      useFactory: (pool?: InferencePool) => load(pool, name, source),
    })),
    exports: models.map(({ name }) => tokenOf(name)),
  };
}

/**
 * Stops the queues first, because their inputs still need the workers, which then have what is left of
 * `shutdownTimeout`.
 */
export async function closePool(pool: InferencePool, registry: Queues | undefined): Promise<void> {
  try {
    await registry?.stop();
  } finally {
    await pool.close(registry?.shutdownTimeLeft);
  }
}

/**
 * @param url the `import.meta.url` of the module that has the runtime; in a bundle of CommonJS modules it may
 *   be undefined, contrary to its type
 * @param name the worker's file, relative to it
 * @throws the runtime's `ModuleError` if there is no such file, as in a bundle
 */
export function workerFileAt(url: string, name: string, ModuleError: InferenceRuntime['ModuleError']): URL {
  const file = URL.canParse(name, url) ? new URL(name, url) : undefined;
  if (file && existsSync(file)) return file;
  throw new ModuleError(
    `the inference worker has no file${file ? ` (${file.href})` : ''}: a bundler includes what is imported, which ` +
      'the worker is not; keep nest-batching external (webpack: externals, esbuild: --external:nest-batching)',
  );
}
