import { inspect } from 'node:util';
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
import type { TfjsBackend } from './backend.js';
import { TfjsModuleError } from './errors.js';
import { checkBatchSizes } from './batch-sizes.js';
import { InferenceLane, type ModelSource } from './inference-lane.js';
import { checkChecksums } from './model-files.js';
import type { InputShape } from './network.js';
import { type ModelSelfTest, readSelfTests } from './self-test.js';
import { TfjsModel } from './tfjs-model.js';

export interface TfjsModuleOptions {
  /**
   * `auto` (the default) takes the first of `tensorflow`, `webgpu`, `wasm` and `cpu` that uses a GPU, else the first that
   * works; it logs which, on which device, and why the others were passed over. A backend that is named and cannot start
   * fails the start-up with `TfjsBackendError`.
   */
  backend?: TfjsBackend | 'auto';
  /**
   * Longest that the inference worker may be silent about a batch, in milliseconds; a number above 0, or `Infinity` for any
   * time. Default 30,000. Never less than three times the longest batch so far. Beyond it the worker is ended, its batches
   * reject with `InferenceWorkerError`, and a new worker takes its place; where it cannot be ended, see
   * `TfjsModel.unresponsive`. Loading and warming up may take any time, and so may a stop of the whole process.
   */
  heartbeat?: number;
}

export interface TfjsModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  inject?: (InjectionToken | OptionalFactoryDependency)[];
  useFactory: (...args: never[]) => TfjsModuleOptions | Promise<TfjsModuleOptions>;
}

export interface TfjsModelOptions {
  /** The name for `@InjectModel(name)`, one per application. */
  name: string;
  /**
   * A layers or graph model of TensorFlow.js: its `model.json`, or the folder that holds it; on `tensorflow` also the folder
   * of a SavedModel; or a JavaScript module (`.js`, `.mjs`, `.cjs`) of own code for the worker: see `ModelModule`.
   */
  path: string;
  /**
   * Shape of one input without the batch dimension, where the model leaves more open than that; for a model of several
   * inputs one for each that leaves something open, by name. Default: as the model says.
   */
  inputShape?: InputShape;
  /**
   * Sizes that batches are padded to, each run once at start-up; a batch above the largest is run in pieces. For devices
   * that prepare something per shape. Whole numbers from 1. Default: on a GPU the powers of two (1 to 64 at start-up), else
   * none: batches run as they come.
   */
  batchSizes?: readonly number[];
  /**
   * Inputs whose results are known, run at start-up and after each restart of the worker: a model that gives others is not
   * ready (`ModelNotReadyError`). Default: none; then all results of an input of zeros must be finite numbers.
   */
  selfTest?: ModelSelfTest | readonly ModelSelfTest[];
  /** The model may give NaN or Infinity for an input of zeros, and is ready all the same. Default `false`. */
  allowNonFinite?: boolean;
  /**
   * SHA-256 of the model's files, 64 hexadecimal digits each, by their names as seen from the model's folder:
   * `{ 'weights.bin': 'a177…' }`. Other content is refused with `ModelFileError`, at a restart of the worker with
   * `ModelNotReadyError`. Files that are not named are not compared. Default: none are.
   */
  checksums?: Readonly<Record<string, string>>;
}

// Strings: the library may be in the process twice, as ESM and as CommonJS, and Nest cannot print a symbol everywhere.
const optionsToken = 'options of TfjsModule.forRoot()';
const laneToken = 'InferenceLane of TfjsModule.forRoot()';
const registryToken = 'BatchingRegistry of nest-batching';

/** What this module needs of `BatchingRegistry`, which may come from the other copy of the library. */
interface Queues {
  stop: () => Promise<unknown>;
  /** What is left of `shutdownTimeout`, in milliseconds. */
  readonly shutdownTimeLeft: number;
}

/** The token that a model is provided under. */
export function getModelToken(name: string): string {
  return `TfjsModel '${name}' of TfjsModule.forFeature()`;
}

/** Injects the `TfjsModel` that `TfjsModule.forFeature` registered under this name. It is loaded. */
export function InjectModel(name: string): ParameterDecorator & PropertyDecorator {
  return Inject(getModelToken(name));
}

/**
 * TensorFlow.js models, run in batches in a worker thread: `forRoot` once for the backend, `forFeature` where models are
 * used. Start-up waits until the models are loaded, and fails with a typed error when one cannot be.
 */
@Global()
@Module({})
export class TfjsModule implements OnApplicationShutdown {
  constructor(
    @Inject(laneToken) private readonly lane: InferenceLane,
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
        { provide: laneToken, inject: [optionsToken, ModulesContainer], useFactory: openLane },
      ],
      exports: [laneToken],
    };
  }

  static forFeature(models: readonly TfjsModelOptions[]): DynamicModule {
    const sources = models.map(({ name, selfTest, ...source }) => ({
      name,
      source: { ...source, selfTest: readSelfTests(name, selfTest) },
    }));
    for (const { name, path, batchSizes, allowNonFinite, checksums } of models) {
      if (models.some((other) => other.name === name && other.path !== path)) {
        throw new TfjsModuleError(
          `TfjsModule.forFeature: model '${name}' is listed twice, with different paths`,
        );
      }
      checkBatchSizes(name, batchSizes);
      checkChecksums(name, checksums);
      if (allowNonFinite !== undefined && typeof allowNonFinite !== 'boolean') {
        throw new TypeError(
          `TfjsModule.forFeature: allowNonFinite of model '${name}' must be true or false; it is ${inspect(allowNonFinite)}`,
        );
      }
    }
    return {
      module: TfjsFeatureModule,
      providers: sources.map(({ name, source }) => ({
        provide: getModelToken(name),
        // Optional only in order to say more than Nest could.
        inject: [{ token: laneToken, optional: true }],
        useFactory: (lane?: InferenceLane) => loadModel(lane, name, source),
      })),
      exports: models.map(({ name }) => getModelToken(name)),
    };
  }

  /**
   * Batches that wait in queues still need the worker, so the queues are drained first; the worker has what they left of
   * `shutdownTimeout`.
   */
  async onApplicationShutdown(): Promise<void> {
    try {
      await this.registry?.stop();
    } finally {
      await this.lane.close(this.registry?.shutdownTimeLeft);
    }
  }
}

/** What `forFeature` makes: a module of its own class, so that the hooks of `TfjsModule` run once. */
@Module({})
class TfjsFeatureModule {}

function openLane(
  { backend = 'auto', heartbeat }: TfjsModuleOptions,
  modules: ModulesContainer,
): Promise<InferenceLane> {
  if ([...modules.values()].filter(({ metatype }) => metatype === TfjsModule).length > 1) {
    throw new TfjsModuleError('TfjsModule.forRoot() is imported twice: import it once, in the root module');
  }
  return InferenceLane.open(backend, heartbeat);
}

async function loadModel(
  lane: InferenceLane | undefined,
  name: string,
  source: ModelSource,
): Promise<TfjsModel> {
  if (!lane) {
    throw new TfjsModuleError(
      `model '${name}' needs TfjsModule.forRoot() among the imports of the root module`,
    );
  }
  return new TfjsModel(lane, name, await lane.load(name, source));
}
