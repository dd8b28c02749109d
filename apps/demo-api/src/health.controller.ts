import { ApiErrors, Health } from '@app/serving';
import { Controller, Get, Inject } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { HealthCheck, type HealthIndicatorFunction } from '@nestjs/terminus';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { InjectTfjsModel, TfjsModel } from 'nest-batching/tfjs';
import { livenessErrors, readinessErrors } from './api-errors.js';
import { DIGITS_NETWORK, type DigitsNetwork } from './digits/digits-network.js';

interface Readiness {
  status: 'ready';
  /** Where the networks run. */
  backend: string;
  device: string;
}

/** For what starts and restarts processes and sends them traffic: an orchestrator, a load balancer. */
@ApiTags('health')
@Controller('health')
export class HealthController {
  constructor(
    @Inject(DIGITS_NETWORK) private readonly digits: DigitsNetwork,
    @InjectTfjsModel('esrgan') private readonly esrgan: TfjsModel,
    private readonly batching: BatchingHealthIndicator,
    private readonly health: Health,
  ) {}

  @ApiOperation({
    summary: 'Whether the process runs',
    description: 'If this fails, restart it: the inference worker hangs in native code and cannot be ended.',
  })
  @ApiOkResponse({
    schema: {
      type: 'object',
      required: ['status'],
      properties: { status: { type: 'string', enum: ['live'] } },
    },
    example: { status: 'live' },
  })
  @ApiErrors(...livenessErrors)
  @HealthCheck({ swaggerDocumentation: false })
  @Get('live')
  live(): Promise<{ status: 'live' }> {
    return this.health.check('live', [this.#worker]);
  }

  @ApiOperation({
    summary: 'Whether it takes requests now',
    description:
      'The networks are loaded, warmed up and tested, every queue takes inputs, and no signal to end has come.',
  })
  @ApiOkResponse({
    schema: {
      type: 'object',
      required: ['status', 'backend', 'device'],
      properties: {
        status: { type: 'string', enum: ['ready'] },
        backend: { type: 'string', description: 'What runs the networks' },
        device: { type: 'string', description: 'Where they run' },
      },
    },
    example: { status: 'ready', backend: 'wasm', device: 'CPU (WebAssembly with SIMD)' },
  })
  @ApiErrors(...readinessErrors)
  @HealthCheck({ swaggerDocumentation: false })
  @Get('ready')
  async ready(): Promise<Readiness> {
    const { status } = await this.health.check('ready', [
      this.health.server,
      // Known here, without asking the worker: what it runs now may take longer than an orchestrator waits.
      () => this.batching.isHealthy(),
    ]);
    return { status, backend: this.digits.backend, device: this.digits.device };
  }

  get #worker(): HealthIndicatorFunction {
    const stuck = () => this.digits.unresponsive ?? this.esrgan.unresponsive;
    return this.health.indicator('worker', () => stuck()?.message);
  }
}
