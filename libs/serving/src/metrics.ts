import { Controller, type DynamicModule, Get, Header, Inject, Module } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { BatchingMetricsModule, type LatencyAims } from 'nest-batching/prometheus';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { ApiErrors } from './api-errors.js';

/** For a Prometheus that scrapes this process. */
@ApiTags('health')
@Controller('metrics')
export class MetricsController {
  constructor(@Inject(Registry) private readonly registry: Registry) {}

  @ApiOperation({
    summary: 'What the queues, the networks and the process do, as numbers',
    description: 'In the text format of Prometheus. docs/metrics.md lists the metrics of queues.',
  })
  @ApiOkResponse({
    content: {
      'text/plain': {
        schema: { type: 'string' },
        example: '# HELP batching_batch_size Inputs per batch\n# TYPE batching_batch_size histogram\n',
      },
    },
  })
  @ApiErrors()
  @Header('Content-Type', Registry.PROMETHEUS_CONTENT_TYPE)
  @Header('Cache-Control', 'no-store')
  @Get()
  metrics(): Promise<string> {
    return this.registry.metrics();
  }
}

/** `GET /metrics`: those of the application's queues, and those of the process. */
@Module({})
export class MetricsModule {
  /** @param slo the aims from which the number of replicas is computed */
  static forRoot(slo?: LatencyAims): DynamicModule {
    // Each application has its own, as tests run several in one process.
    const registry = new Registry();
    collectDefaultMetrics({ register: registry });
    return {
      module: MetricsModule,
      imports: [BatchingMetricsModule.forRoot({ registry, slo })],
      providers: [{ provide: Registry, useValue: registry }],
      controllers: [MetricsController],
    };
  }
}
