import { ApiErrors, Health } from '@app/serving';
import { Controller, Get } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { HealthCheck } from '@nestjs/terminus';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { readinessErrors } from './api-errors.js';

/** For what sends traffic here: a load balancer, an orchestrator. */
@ApiTags('operations')
@Controller('health')
export class HealthController {
  constructor(
    private readonly health: Health,
    private readonly batching: BatchingHealthIndicator,
  ) {}

  @ApiOperation({
    summary: 'Whether it takes requests now',
    description: 'From the start, which waits for the database, to the first signal to end.',
  })
  @ApiOkResponse({
    schema: {
      type: 'object',
      required: ['status'],
      properties: { status: { type: 'string', enum: ['ready'] } },
    },
    example: { status: 'ready' },
  })
  @ApiErrors(...readinessErrors)
  @HealthCheck({ swaggerDocumentation: false })
  @Get('ready')
  ready(): Promise<{ status: 'ready' }> {
    return this.health.check('ready', [this.health.server, () => this.batching.isHealthy()]);
  }
}
