import { Controller, Get } from '@nestjs/common';
import { HealthCheck } from '@nestjs/terminus';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { Health } from './health.js';

/** For what sends traffic here: a load balancer, an orchestrator. */
@Controller('health')
export class ReadinessController {
  constructor(
    private readonly health: Health,
    private readonly batching: BatchingHealthIndicator,
  ) {}

  /** Whether it takes requests: from the start, which waits for its models, to the first signal to end. */
  @HealthCheck({ swaggerDocumentation: false })
  @Get('ready')
  ready(): Promise<{ status: 'ready' }> {
    return this.health.check('ready', [this.health.server, () => this.batching.isHealthy()]);
  }
}
