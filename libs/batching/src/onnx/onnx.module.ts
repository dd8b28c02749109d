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
import { type OnnxExecutionProvider, onnxExecutionProviders } from './execution-provider.js';
import { OnnxModel } from './onnx-model.js';
import { onnxRuntime } from './runtime.js';

/** The options of `OnnxModule.forRoot()`. */
export interface OnnxModuleOptions extends InferenceModuleOptions {
  /**
   * `auto` takes the first of `cuda` and `webgpu` that works on a GPU, else `cpu`, and logs it with its
   * device, and the reasons for passing over others. If a named execution provider cannot start, the start-up
   * fails with an `OnnxBackendError`. Operators that a GPU's provider lacks run on the CPU. Default: `auto`.
   */
  executionProvider?: OnnxExecutionProvider | 'auto';
}

/** The options of `OnnxModule.forRootAsync()`: a factory of the options, and what to inject into it. */
export type OnnxModuleAsyncOptions = InferenceModuleAsyncOptions<OnnxModuleOptions>;

/** The options of one model of `OnnxModule.forFeature()`. */
export interface OnnxModelOptions extends InferenceModelOptions {
  /** The name for `@InjectOnnxModel(name)`; unique in the application. */
  name: string;
  /**
   * The model's file (`.onnx`, `.ort`), or a folder with one such file. The first dimension of each input
   * must be open, so that a batch may have any size.
   */
  path: string;
}

/** The injection token of a model. */
export function getOnnxModelToken(name: string): string {
  return `OnnxModel '${name}' of OnnxModule.forFeature()`;
}

/** Injects the `OnnxModel` that `OnnxModule.forFeature` registered under this name, loaded and warmed up. */
export function InjectOnnxModel(name: string): ParameterDecorator & PropertyDecorator {
  return Inject(getOnnxModelToken(name));
}

/**
 * ONNX models that run in batches in worker threads. Import `forRoot` once, for the execution provider, and
 * `forFeature` in the modules that use models. The start of the application waits until the models are
 * loaded, and fails with a typed error if one cannot be loaded.
 */
@Global()
@Module({})
export class OnnxModule implements OnApplicationShutdown {
  constructor(
    @Inject(poolToken(onnxRuntime)) private readonly pool: InferencePool,
    @Optional() @Inject(REGISTRY) private readonly registry?: Queues,
  ) {}

  /**
   * @returns the module to import, once, in the root module. Its start fails with an `OnnxBackendError` if
   *   the execution provider cannot start, or a `RangeError` for an invalid option
   */
  static forRoot(options: OnnxModuleOptions = {}): DynamicModule {
    return OnnxModule.forRootAsync({ useFactory: () => options });
  }

  /** The same, with options from a factory. */
  static forRootAsync(options: OnnxModuleAsyncOptions): DynamicModule {
    return rootModule(onnxRuntime, OnnxModule, options, openPool);
  }

  /**
   * @returns the module to import where the models are injected
   * @throws {TypeError | RangeError} for an invalid option
   * @throws {OnnxModuleError} for a name with two paths
   */
  static forFeature(models: readonly OnnxModelOptions[]): DynamicModule {
    return featureModule(
      onnxRuntime,
      OnnxFeatureModule,
      models,
      getOnnxModelToken,
      (pool, name, model) => new OnnxModel(pool, name, model),
    );
  }

  /** Stops the queues, whose inputs still need the workers, and then the workers. */
  async onApplicationShutdown(): Promise<void> {
    await closePool(this.pool, this.registry);
  }
}

/** The module of `forFeature`; another class, so that the hooks of `OnnxModule` run once. */
@Module({})
class OnnxFeatureModule {}

function openPool({
  executionProvider = 'auto',
  heartbeat,
  workers,
}: OnnxModuleOptions): Promise<InferencePool> {
  const names = ['auto', ...onnxExecutionProviders];
  if (!names.includes(executionProvider)) {
    throw new RangeError(
      `OnnxModule: executionProvider must be one of ${names.join(', ')}; it is '${executionProvider}'`,
    );
  }
  return InferencePool.open(onnxRuntime, { backend: executionProvider, heartbeat, workers });
}
