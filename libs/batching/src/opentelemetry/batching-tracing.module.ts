import {
  ConfigurableModuleBuilder,
  Inject,
  Logger,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
  Optional,
} from '@nestjs/common';
import { DiscoveryModule, DiscoveryService } from '@nestjs/core';
import { type MeterProvider, metrics, trace, type TracerProvider } from '@opentelemetry/api';
import { type ApplicationQueues, REGISTRY } from '../core/application.js';
import { naming, show } from '../core/checks.js';
import type { InputEvent } from '../core/events.js';
import { ApplicationMetrics } from '../reports/application-metrics.js';
import { checkMetricsOptions, type MetricsOptions } from '../reports/metrics-options.js';
import { reportedModels } from '../reports/reported-models.js';
import { listen } from './batch-events.js';
import { BatchMeters } from './batch-meters.js';
import { BatchTraces } from './batch-traces.js';
import { tracePropagation } from './trace-propagation.js';

/** Options of `BatchingTracingModule.forRoot()`. */
export interface BatchingTracingOptions extends MetricsOptions {
  /** Whose tracer makes the spans; `false` for none. Default: the global one. */
  tracerProvider?: TracerProvider | false;
  /** Whose meter makes the metrics; `false` for none. Default: the global one. */
  meterProvider?: MeterProvider | false;
}

/** Creates the options of `BatchingTracingModule.forRootAsync({ useClass })` and `({ useExisting })`. */
export interface BatchingTracingOptionsFactory {
  createBatchingTracingOptions(): BatchingTracingOptions | Promise<BatchingTracingOptions>;
}

const OPTIONS = 'options of BatchingTracingModule.forRoot()';
const SCOPE = 'nest-batching';

const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<BatchingTracingOptions>({
  optionsInjectionToken: OPTIONS,
})
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createBatchingTracingOptions')
  .build();

/**
 * Traces and metrics of an application's queues through OpenTelemetry. Import it once, in the root module,
 * beside `BatchingModule.forRoot()`; the SDK is the application's own, and is to be set up before.
 */
@Module({ imports: [DiscoveryModule] })
export class BatchingTracingModule
  extends ConfigurableModuleClass
  implements OnModuleInit, OnApplicationBootstrap, OnApplicationShutdown
{
  readonly #logger = new Logger('BatchingTracingModule');
  readonly #ends: (() => void)[] = [];

  constructor(
    @Inject(OPTIONS) private readonly options: BatchingTracingOptions,
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Optional() @Inject(REGISTRY) private readonly queues?: ApplicationQueues,
  ) {
    super();
    naming('BatchingTracingModule.forRoot()', () => {
      checkMetricsOptions(options);
      checkProvider('tracerProvider', options.tracerProvider, 'getTracer');
      checkProvider('meterProvider', options.meterProvider, 'getMeter');
    });
  }

  /** Early, as other hooks may submit inputs already. */
  onModuleInit(): void {
    const { tracerProvider = trace } = this.options;
    if (!this.queues) {
      throw new Error(
        'BatchingTracingModule needs BatchingModule.forRoot() among the imports of the root module',
      );
    }
    if (claimed.has(this.queues)) {
      throw new Error('BatchingTracingModule is imported twice: import it once, in the root module');
    }
    claimed.add(this.queues);
    if (tracerProvider) {
      this.queues.propagate(tracePropagation);
      const traces = new BatchTraces(tracerProvider.getTracer(SCOPE));
      this.#ends.push(listen(traces, this.#isOurs), () => {
        traces.close();
      });
    }
  }

  onApplicationBootstrap(): void {
    const { meterProvider = metrics } = this.options;
    if (!meterProvider || !this.queues) return;
    const application = new ApplicationMetrics(
      this.queues,
      () => reportedModels(this.discovery),
      this.options,
      (sentence) => {
        this.#logger.warn(sentence);
      },
    );
    const meters = new BatchMeters(meterProvider.getMeter(SCOPE), application);
    application.checkNames();
    this.#ends.push(listen(meters, this.#isOurs), () => {
      meters.close();
    });
  }

  /** The queues stop in the same hook, so what still runs is waited for. */
  async onApplicationShutdown(): Promise<void> {
    await this.queues?.stop();
    for (const end of this.#ends.splice(0)) end();
  }

  readonly #isOurs = (queue: InputEvent['queue']): boolean => {
    const { queues } = this;
    return queues !== undefined && queues.list().includes(queue.name) && queues.get(queue.name) === queue;
  };
}

/**
 * The applications that are traced. On `globalThis`, because an application may load this library twice, as
 * ESM and as CommonJS.
 */
const CLAIMED = Symbol.for('nest-batching:opentelemetry applications');
const claimed = ((globalThis as { [CLAIMED]?: WeakSet<object> })[CLAIMED] ??= new WeakSet());

function checkProvider(name: string, provider: unknown, method: string): void {
  if (provider === undefined || provider === false) return;
  const isProvider = typeof (provider as Record<string, unknown> | null)?.[method] === 'function';
  if (isProvider) return;
  throw new TypeError(`${name}: expected false or a provider with ${method}(), got ${show(provider)}`);
}
