import {
  type DynamicModule,
  Global,
  Inject,
  type InjectionToken,
  Module,
  type ModuleMetadata,
  type OnApplicationShutdown,
  Optional,
  type OptionalFactoryDependency,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { InferencePool } from '../inference/main/inference-pool.js';
import {
  type InferenceModelOptions,
  type ModelSource,
  readModelSource,
} from '../inference/main/model-source.js';
import { type TfjsBackend, tfjsBackends } from './backend.js';
import { TfjsModuleError } from './errors.js';
import { tfjsRuntime } from './runtime.js';
import { TfjsModel } from './tfjs-model.js';

/** The options of `TfjsModule.forRoot()`. */
export interface TfjsModuleOptions {
  /**
   * `auto` takes the first of `tensorflow`, `webgpu`, `wasm` and `cpu` that uses a GPU, else the first that
   * works, and logs it with its device, and the reasons for passing over others. If a named backend cannot
   * start, the start-up fails with a `TfjsBackendError`. Default: `auto`.
   */
  backend?: TfjsBackend | 'auto';
  /**
   * Longest time in milliseconds that the inference worker may take for a batch: above 0, or `Infinity`;
   * always at least three times the longest batch so far. After that the worker is ended, its batches reject
   * with an `InferenceWorkerError`, and a new worker is started; if it cannot be ended, see
   * `TfjsModel.unresponsive`. Loading and warming up may take any time, and a pause of the whole process
   * (SIGSTOP) does not count. Default 30,000.
   */
  heartbeat?: number;
  /**
   * Number of inference workers, each with all models: a whole number from 1 to 256. A batch that finds
   * several workers idle is split over them if that has been faster so far; batches that run at the same time
   * run in different workers. `auto` is one for each core that pays on `wasm` and `cpu`: of the CPUs that the
   * process may use (affinity, quota of its cgroup) both of two, all but one of more, at most eight; one on
   * `tensorflow` and `webgpu`, which use all of their device, and with `NODE_ENV=test`. Default: `auto`.
   */
  workers?: number | 'auto';
}

/** The options of `TfjsModule.forRootAsync()`: a factory of the options, and what to inject into it. */
export interface TfjsModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  inject?: (InjectionToken | OptionalFactoryDependency)[];
  useFactory: (...args: never[]) => TfjsModuleOptions | Promise<TfjsModuleOptions>;
}

/** The options of one model of `TfjsModule.forFeature()`. */
export interface TfjsModelOptions extends InferenceModelOptions {
  /** The name for `@InjectTfjsModel(name)`; unique in the application. */
  name: string;
  /**
   * A layers or graph model of TensorFlow.js: its `model.json`, or the folder with it. On `tensorflow` also
   * the folder of a SavedModel. Or a JavaScript module (`.js`, `.mjs`, `.cjs`) that runs in the worker: see
   * `ModelModule`.
   */
  path: string;
}

// Strings, because the library may be loaded twice, as ESM and as CommonJS, and some messages of Nest cannot
// print a symbol.
const OPTIONS = 'options of TfjsModule.forRoot()';
const POOL = 'InferencePool of TfjsModule.forRoot()';
const REGISTRY = 'BatchingRegistry of nest-batching';

/**
 * The part of `BatchingRegistry` that is used here; the registry may be that of another copy of the library.
 */
interface Queues {
  stop: () => Promise<unknown>;
  /** Milliseconds left of `shutdownTimeout`. */
  readonly shutdownTimeLeft: number;
}

/** The injection token of a model. */
export function getTfjsModelToken(name: string): string {
  return `TfjsModel '${name}' of TfjsModule.forFeature()`;
}

/** Injects the `TfjsModel` that `TfjsModule.forFeature` registered under this name, loaded and warmed up. */
export function InjectTfjsModel(name: string): ParameterDecorator & PropertyDecorator {
  return Inject(getTfjsModelToken(name));
}

/**
 * @deprecated Use `getTfjsModelToken`: `@nestjs/mongoose` and `@nestjs/sequelize` export a `getModelToken`,
 *   which editors import instead.
 */
export const getModelToken = getTfjsModelToken;

/**
 * @deprecated Use `InjectTfjsModel`: `@nestjs/mongoose` and `@nestjs/sequelize` export an `InjectModel`,
 *   which editors import instead.
 */
export const InjectModel = InjectTfjsModel;

/**
 * TensorFlow.js models that run in batches in worker threads. Import `forRoot` once, for the backend, and
 * `forFeature` in the modules that use models. The start of the application waits until the models are
 * loaded, and fails with a typed error if one cannot be loaded.
 */
@Global()
@Module({})
export class TfjsModule implements OnApplicationShutdown {
  constructor(
    @Inject(POOL) private readonly pool: InferencePool,
    @Optional() @Inject(REGISTRY) private readonly registry?: Queues,
  ) {}

  /**
   * @returns the module to import, once, in the root module. Its start fails with a `TfjsBackendError` if the
   *   backend cannot start, or a `RangeError` for an invalid option
   */
  static forRoot(options: TfjsModuleOptions = {}): DynamicModule {
    return TfjsModule.forRootAsync({ useFactory: () => options });
  }

  /** The same, with options from a factory. */
  static forRootAsync({ imports, inject, useFactory }: TfjsModuleAsyncOptions): DynamicModule {
    return {
      module: TfjsModule,
      imports,
      providers: [
        { provide: OPTIONS, inject, useFactory },
        { provide: POOL, inject: [OPTIONS, ModulesContainer], useFactory: openPool },
      ],
      exports: [POOL],
    };
  }

  /**
   * @returns the module to import where the models are injected
   * @throws {TypeError | RangeError} for an invalid option
   * @throws {TfjsModuleError} for a name with two paths
   */
  static forFeature(models: readonly TfjsModelOptions[]): DynamicModule {
    const sources = models.map((model) => ({
      name: model.name,
      source: readModelSource('TfjsModule.forFeature', model),
    }));
    for (const { name, path } of models) {
      if (models.some((other) => other.name === name && other.path !== path)) {
        throw new TfjsModuleError(
          `TfjsModule.forFeature: model '${name}' is listed twice, with different paths`,
        );
      }
    }
    return {
      module: TfjsFeatureModule,
      providers: sources.map(({ name, source }) => ({
        provide: getTfjsModelToken(name),
        // Optional, for a better error message than Nest's.
        inject: [{ token: POOL, optional: true }],
        useFactory: (pool?: InferencePool) => loadModel(pool, name, source),
      })),
      exports: models.map(({ name }) => getTfjsModelToken(name)),
    };
  }

  /**
   * Stops the queues first, because their inputs still need the workers, which then have what is left of
   * `shutdownTimeout`.
   */
  async onApplicationShutdown(): Promise<void> {
    try {
      await this.registry?.stop();
    } finally {
      await this.pool.close(this.registry?.shutdownTimeLeft);
    }
  }
}

/** The module of `forFeature`; another class, so that the hooks of `TfjsModule` run once. */
@Module({})
class TfjsFeatureModule {}

function openPool(
  { backend = 'auto', heartbeat, workers }: TfjsModuleOptions,
  modules: ModulesContainer,
): Promise<InferencePool> {
  if ([...modules.values()].filter(({ metatype }) => metatype === TfjsModule).length > 1) {
    throw new TfjsModuleError('TfjsModule.forRoot() is imported twice: import it once, in the root module');
  }
  const names = ['auto', ...tfjsBackends];
  if (!names.includes(backend)) {
    throw new RangeError(`TfjsModule: backend must be one of ${names.join(', ')}; it is '${backend}'`);
  }
  return InferencePool.open(tfjsRuntime, { backend, heartbeat, workers });
}

async function loadModel(
  pool: InferencePool | undefined,
  name: string,
  source: ModelSource,
): Promise<TfjsModel> {
  if (!pool) {
    throw new TfjsModuleError(
      `model '${name}' needs TfjsModule.forRoot() among the imports of the root module`,
    );
  }
  return new TfjsModel(pool, name, await pool.load(name, source));
}
