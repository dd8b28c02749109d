import {
  type DynamicModule,
  Global,
  Inject,
  Module,
  type OnApplicationShutdown,
  Optional,
} from '@nestjs/common';
import { InferenceWorker } from '../inference/main/inference-worker.js';
import type { InferenceModelOptions } from '../inference/main/model-source.js';
import {
  closeWorker,
  featureModule,
  type InferenceModuleAsyncOptions,
  type InferenceModuleOptions,
  type Queues,
  REGISTRY,
  rootModule,
  workerToken,
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
 * ONNX models that run in batches in a worker thread. Import `forRoot` once, for the execution provider, and
 * `forFeature` in the modules that use models. The start of the application waits until the models are
 * loaded, and fails with a typed error if one cannot be loaded.
 */
@Global()
@Module({})
export class OnnxModule implements OnApplicationShutdown {
  constructor(
    @Inject(workerToken(onnxRuntime)) private readonly worker: InferenceWorker,
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
    return rootModule(onnxRuntime, OnnxModule, options, openWorker);
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
      (worker, name, model) => new OnnxModel(worker, name, model),
    );
  }

  /** Stops the queues, whose inputs still need the worker, and then the worker. */
  async onApplicationShutdown(): Promise<void> {
    await closeWorker(this.worker, this.registry);
  }
}

/** The module of `forFeature`; another class, so that the hooks of `OnnxModule` run once. */
@Module({})
class OnnxFeatureModule {}

function openWorker({ executionProvider = 'auto', heartbeat }: OnnxModuleOptions): Promise<InferenceWorker> {
  const names = ['auto', ...onnxExecutionProviders];
  if (!names.includes(executionProvider)) {
    throw new RangeError(
      `OnnxModule: executionProvider must be one of ${names.join(', ')}; it is '${executionProvider}'`,
    );
  }
  return InferenceWorker.open(onnxRuntime, executionProvider, heartbeat);
}
