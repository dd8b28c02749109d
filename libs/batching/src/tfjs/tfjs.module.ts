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
import { InferenceWorker } from '../inference/main/inference-worker.js';
import {
  type InferenceModelOptions,
  type ModelSource,
  readModelSource,
} from '../inference/main/model-source.js';
import { type TfjsBackend, tfjsBackends } from './backend.js';
import { TfjsModuleError } from './errors.js';
import { tfjsRuntime } from './runtime.js';
import { TfjsModel } from './tfjs-model.js';

export interface TfjsModuleOptions {
  /**
   * `auto` (the default) takes the first of `tensorflow`, `webgpu`, `wasm` and `cpu` that uses a GPU, else the first that
   * works; it logs which, on which device, and why the others were passed over. A backend that is named and cannot start
   * fails the start-up with `TfjsBackendError`.
   */
  backend?: TfjsBackend | 'auto';
  /**
   * Longest silence of the inference worker about a batch, in milliseconds; a number above 0, or `Infinity` for any time.
   * Default 30,000; always at least three times the longest batch so far. Beyond it the worker is ended, its batches reject
   * with `InferenceWorkerError`, and a new worker takes its place; where it cannot be ended, see `TfjsModel.unresponsive`.
   * Loading and warming up may take any time, and so may a stop of the whole process.
   */
  heartbeat?: number;
}

export interface TfjsModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  inject?: (InjectionToken | OptionalFactoryDependency)[];
  useFactory: (...args: never[]) => TfjsModuleOptions | Promise<TfjsModuleOptions>;
}

export interface TfjsModelOptions extends InferenceModelOptions {
  /** The name for `@InjectTfjsModel(name)`, one per application. */
  name: string;
  /**
   * A layers or graph model of TensorFlow.js: its `model.json`, or the folder that holds it; on `tensorflow` also the folder
   * of a SavedModel; or a JavaScript module (`.js`, `.mjs`, `.cjs`) of own code for the worker: see `ModelModule`.
   */
  path: string;
}

// Strings: the library may be in the process twice, as ESM and as CommonJS, and Nest cannot print a symbol everywhere.
const optionsToken = 'options of TfjsModule.forRoot()';
const workerToken = 'InferenceWorker of TfjsModule.forRoot()';
const registryToken = 'BatchingRegistry of nest-batching';

/** The part of `BatchingRegistry` that is used here; it may come from another copy of the library. */
interface Queues {
  stop: () => Promise<unknown>;
  /** What is left of `shutdownTimeout`, in milliseconds. */
  readonly shutdownTimeLeft: number;
}

/** The token that a model is provided under. */
export function getTfjsModelToken(name: string): string {
  return `TfjsModel '${name}' of TfjsModule.forFeature()`;
}

/** Injects the `TfjsModel` that `TfjsModule.forFeature` registered under this name. It is loaded. */
export function InjectTfjsModel(name: string): ParameterDecorator & PropertyDecorator {
  return Inject(getTfjsModelToken(name));
}

/** @deprecated Use `getTfjsModelToken`: `@nestjs/mongoose` and `@nestjs/sequelize` export a `getModelToken`, which editors import instead. */
export const getModelToken = getTfjsModelToken;

/** @deprecated Use `InjectTfjsModel`: `@nestjs/mongoose` and `@nestjs/sequelize` export an `InjectModel`, which editors import instead. */
export const InjectModel = InjectTfjsModel;

/**
 * TensorFlow.js models, run in batches in a worker thread: `forRoot` once for the backend, `forFeature` where models are
 * used. Start-up waits until the models are loaded, and fails with a typed error when one cannot be.
 */
@Global()
@Module({})
export class TfjsModule implements OnApplicationShutdown {
  constructor(
    @Inject(workerToken) private readonly worker: InferenceWorker,
    @Optional() @Inject(registryToken) private readonly registry?: Queues,
  ) {}

  static forRoot(options: TfjsModuleOptions = {}): DynamicModule {
    return TfjsModule.forRootAsync({ useFactory: () => options });
  }

  static forRootAsync({ imports, inject, useFactory }: TfjsModuleAsyncOptions): DynamicModule {
    return {
      module: TfjsModule,
      imports,
      providers: [
        { provide: optionsToken, inject, useFactory },
        { provide: workerToken, inject: [optionsToken, ModulesContainer], useFactory: openWorker },
      ],
      exports: [workerToken],
    };
  }

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
        // Optional, so that the error says more than Nest's.
        inject: [{ token: workerToken, optional: true }],
        useFactory: (worker?: InferenceWorker) => loadModel(worker, name, source),
      })),
      exports: models.map(({ name }) => getTfjsModelToken(name)),
    };
  }

  /**
   * Inputs that wait in queues still need the worker, so the queues are drained first; the worker then has what is left of
   * `shutdownTimeout`.
   */
  async onApplicationShutdown(): Promise<void> {
    try {
      await this.registry?.stop();
    } finally {
      await this.worker.close(this.registry?.shutdownTimeLeft);
    }
  }
}

/** The module of `forFeature`, a class of its own so that the hooks of `TfjsModule` run once. */
@Module({})
class TfjsFeatureModule {}

function openWorker(
  { backend = 'auto', heartbeat }: TfjsModuleOptions,
  modules: ModulesContainer,
): Promise<InferenceWorker> {
  if ([...modules.values()].filter(({ metatype }) => metatype === TfjsModule).length > 1) {
    throw new TfjsModuleError('TfjsModule.forRoot() is imported twice: import it once, in the root module');
  }
  const names = ['auto', ...tfjsBackends];
  if (!names.includes(backend)) {
    throw new RangeError(`TfjsModule: backend must be one of ${names.join(', ')}; it is '${backend}'`);
  }
  return InferenceWorker.open(tfjsRuntime, backend, heartbeat);
}

async function loadModel(
  worker: InferenceWorker | undefined,
  name: string,
  source: ModelSource,
): Promise<TfjsModel> {
  if (!worker) {
    throw new TfjsModuleError(
      `model '${name}' needs TfjsModule.forRoot() among the imports of the root module`,
    );
  }
  return new TfjsModel(worker, name, await worker.load(name, source));
}
