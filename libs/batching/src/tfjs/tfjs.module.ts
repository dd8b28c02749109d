import {
  type DynamicModule,
  Global,
  Inject,
  Module,
  type OnApplicationShutdown,
  Optional,
} from '@nestjs/common';
import { InferencePool } from '../inference/main/inference-pool.js';
import type { InferenceModelOptions } from '../inference/main/model-source.js';
import {
  closePool,
  featureModule,
  type InferenceModuleAsyncOptions,
  type InferenceModuleOptions,
  type Queues,
  poolToken,
  REGISTRY,
  rootModule,
} from '../inference/main/module-parts.js';
import { type TfjsBackend, tfjsBackends } from './backend.js';
import { tfjsRuntime } from './runtime.js';
import { TfjsModel } from './tfjs-model.js';

/** The options of `TfjsModule.forRoot()`. */
export interface TfjsModuleOptions extends InferenceModuleOptions {
  /**
   * `auto` takes the first of `tensorflow`, `webgpu`, `wasm` and `cpu` that uses a GPU, else the first that
   * works, and logs it with its device, and the reasons for passing over others. If a named backend cannot
   * start, the start-up fails with a `TfjsBackendError`. Default: `auto`.
   */
  backend?: TfjsBackend | 'auto';
}

/** The options of `TfjsModule.forRootAsync()`: a factory of the options, and what to inject into it. */
export type TfjsModuleAsyncOptions = InferenceModuleAsyncOptions<TfjsModuleOptions>;

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
    @Inject(poolToken(tfjsRuntime)) private readonly pool: InferencePool,
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
  static forRootAsync(options: TfjsModuleAsyncOptions): DynamicModule {
    return rootModule(tfjsRuntime, TfjsModule, options, openPool);
  }

  /**
   * @returns the module to import where the models are injected
   * @throws {TypeError | RangeError} for an invalid option
   * @throws {TfjsModuleError} for a name with two paths
   */
  static forFeature(models: readonly TfjsModelOptions[]): DynamicModule {
    return featureModule(
      tfjsRuntime,
      TfjsFeatureModule,
      models,
      getTfjsModelToken,
      (pool, name, model) => new TfjsModel(pool, name, model),
    );
  }

  /** Stops the queues, whose inputs still need the workers, and then the workers. */
  async onApplicationShutdown(): Promise<void> {
    await closePool(this.pool, this.registry);
  }
}

/** The module of `forFeature`; another class, so that the hooks of `TfjsModule` run once. */
@Module({})
class TfjsFeatureModule {}

function openPool({ backend = 'auto', heartbeat, workers }: TfjsModuleOptions): Promise<InferencePool> {
  const names = ['auto', ...tfjsBackends];
  if (!names.includes(backend)) {
    throw new RangeError(`TfjsModule: backend must be one of ${names.join(', ')}; it is '${backend}'`);
  }
  return InferencePool.open(tfjsRuntime, { backend, heartbeat, workers });
}
