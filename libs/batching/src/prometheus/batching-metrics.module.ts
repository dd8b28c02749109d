import {
  ConfigurableModuleBuilder,
  Inject,
  Logger,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  Optional,
} from '@nestjs/common';
import { DiscoveryModule, DiscoveryService } from '@nestjs/core';
import { register, type Registry } from 'prom-client';
import { type ApplicationQueues, REGISTRY } from '../core/application.js';
import { naming, show } from '../core/checks.js';
import { ApplicationMetrics } from '../reports/application-metrics.js';
import { checkMetricsOptions, type MetricsOptions } from '../reports/metrics-options.js';
import { reportedModels } from '../reports/reported-models.js';
import { RegisteredMetrics } from './registered-metrics.js';

/** Options of `BatchingMetricsModule.forRoot()`. */
export interface BatchingMetricsOptions extends MetricsOptions {
  /** Where the metrics are registered. Default: the global registry of prom-client. */
  registry?: Registry;
  /** What the names begin with: `shop_` makes `shop_batching_batches_total`. Default: nothing. */
  prefix?: string;
}

/** Creates the options of `BatchingMetricsModule.forRootAsync({ useClass })` and `({ useExisting })`. */
export interface BatchingMetricsOptionsFactory {
  createBatchingMetricsOptions(): BatchingMetricsOptions | Promise<BatchingMetricsOptions>;
}

const OPTIONS = 'options of BatchingMetricsModule.forRoot()';

const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<BatchingMetricsOptions>({
  optionsInjectionToken: OPTIONS,
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createBatchingMetricsOptions')
  .build();

/**
 * Exports the queues and models of an application as metrics, through prom-client. Import it once, in the
 * root module, beside `BatchingModule.forRoot()`; serve `registry.metrics()` yourself. Values are read when
 * the registry is asked for them, and cost nothing otherwise. Applications that share a registry and a prefix
 * share the metrics, which are then their sums.
 */
@Module({ imports: [DiscoveryModule] })
export class BatchingMetricsModule
  extends ConfigurableModuleClass
  implements OnApplicationBootstrap, OnApplicationShutdown
{
  readonly #metrics: RegisteredMetrics;
  // In the CommonJS build the name of the class has a number at its end.
  readonly #logger = new Logger('BatchingMetricsModule');

  constructor(
    @Inject(OPTIONS) private readonly options: BatchingMetricsOptions,
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Optional() @Inject(REGISTRY) private readonly queues?: ApplicationQueues,
  ) {
    super();
    const { registry = register, prefix = '' } = options;
    naming('BatchingMetricsModule.forRoot()', () => {
      checkMetricsOptions(options);
      checkRegistry(registry);
      checkPrefix(prefix);
    });
    this.#metrics = metricsIn(registry, prefix);
  }

  onApplicationBootstrap(): void {
    if (!this.queues) {
      throw new Error(
        'BatchingMetricsModule needs BatchingModule.forRoot() among the imports of the root module',
      );
    }
    const warn = (sentence: string): void => {
      this.#logger.warn(sentence);
    };
    const metrics = new ApplicationMetrics(
      this.queues,
      () => reportedModels(this.discovery),
      this.options,
      warn,
    );
    this.#metrics.add(this.queues, metrics);
    metrics.checkNames();
  }

  onApplicationShutdown(): void {
    if (this.queues) this.#metrics.close(this.queues);
  }
}

/**
 * The metrics of each registry, by prefix. On `globalThis`, because an application may load this library
 * twice, as ESM and as CommonJS.
 */
const METRICS = Symbol.for('nest-batching:prometheus metrics');
type ByRegistry = WeakMap<Registry, Map<string, RegisteredMetrics>>;
const byRegistry = ((globalThis as { [METRICS]?: ByRegistry })[METRICS] ??= new WeakMap());

function metricsIn(registry: Registry, prefix: string): RegisteredMetrics {
  const byPrefix = byRegistry.get(registry) ?? new Map<string, RegisteredMetrics>();
  byRegistry.set(registry, byPrefix);
  const metrics = byPrefix.get(prefix) ?? new RegisteredMetrics(registry, prefix);
  byPrefix.set(prefix, metrics);
  return metrics;
}

function checkRegistry(registry: Registry): void {
  // By its methods: an application may have another copy of prom-client.
  const { registerMetric, getSingleMetric } = (registry as Partial<Registry> | null) ?? {};
  if (typeof registerMetric === 'function' && typeof getSingleMetric === 'function') return;
  throw new TypeError(`registry: expected a Registry of prom-client, got ${show(registry)}`);
}

function checkPrefix(prefix: string): void {
  if (typeof prefix !== 'string') throw new TypeError(`prefix: expected a string, got ${show(prefix)}`);
  if (prefix === '' || /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(prefix)) return;
  throw new RangeError(
    `prefix: expected letters, digits, _ and :, not beginning with a digit; got ${show(prefix)}`,
  );
}
