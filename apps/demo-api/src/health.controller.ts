import { Controller, Get } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { BatchingRegistry } from 'nest-batching';
import { InjectModel, TfjsModel } from 'nest-batching/tfjs';
import { ApiErrors } from './api-document.js';
import { ApiError } from './http/api-error.js';
import { Connections } from './http/connections.js';

interface Readiness {
  status: 'ready';
  /** Where the network runs. */
  backend: string;
  device: string;
}

/** For whoever starts, restarts and sends traffic: an orchestrator, a load balancer. */
@ApiTags('health')
@Controller('health')
export class HealthController {
  constructor(
    @InjectModel('digits') private readonly model: TfjsModel,
    private readonly registry: BatchingRegistry,
    private readonly connections: Connections,
  ) {}

  @ApiOperation({ summary: 'Whether the process runs', description: 'If this fails, restart it.' })
  @ApiOkResponse({ schema: { type: 'object', properties: { status: { type: 'string', example: 'live' } } } })
  @Get('live')
  live(): { status: 'live' } {
    return { status: 'live' };
  }

  @ApiOperation({
    summary: 'Whether it takes requests now',
    description:
      'The network is loaded, its worker answers, every queue has room, and nobody has asked it to stop.',
  })
  @ApiOkResponse({
    schema: {
      type: 'object',
      properties: {
        status: { type: 'string', example: 'ready' },
        backend: { type: 'string', example: 'wasm' },
        device: { type: 'string', example: 'CPU (WebAssembly with SIMD)' },
      },
    },
  })
  @ApiErrors(503)
  @Get('ready')
  async ready(): Promise<Readiness> {
    if (this.connections.closing) throw notReady('it is shutting down');
    for (const { name, state, waiting, options } of this.registry.stats()) {
      if (state === 'stopping' || state === 'stopped') throw notReady(`${name} is ${state}`);
      if (waiting >= options.maxQueued) throw notReady(`${name} is full: ${waiting} inputs wait`);
    }
    await this.model.memory().catch((error: unknown) => {
      throw notReady(error instanceof Error ? error.message : String(error));
    });
    return { status: 'ready', backend: this.model.backend, device: this.model.device };
  }
}

function notReady(why: string): ApiError {
  return new ApiError(503, 'ERR_NOT_READY', `Not ready: ${why}.`);
}
