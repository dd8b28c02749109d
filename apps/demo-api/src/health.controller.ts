import { Shutdown } from '@app/serving';
import { Controller, Get } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { BatchingRegistry } from 'nest-batching';
import { InjectTfjsModel, TfjsModel } from 'nest-batching/tfjs';
import { ApiErrors } from './api-document.js';
import { ApiError } from './http/api-error.js';

interface Readiness {
  status: 'ready';
  /** Where the networks run. */
  backend: string;
  device: string;
}

/** For whoever starts, restarts and sends traffic: an orchestrator, a load balancer. */
@ApiTags('health')
@Controller('health')
export class HealthController {
  constructor(
    @InjectTfjsModel('digits') private readonly digits: TfjsModel,
    @InjectTfjsModel('esrgan') private readonly esrgan: TfjsModel,
    private readonly registry: BatchingRegistry,
    private readonly shutdown: Shutdown,
  ) {}

  @ApiOperation({
    summary: 'Whether the process runs',
    description: 'If this fails, restart it: the inference worker hangs in native code and cannot be ended.',
  })
  @ApiOkResponse({ schema: { type: 'object', properties: { status: { type: 'string', example: 'live' } } } })
  @ApiErrors(503)
  @Get('live')
  live(): { status: 'live' } {
    const { unresponsive } = this.digits;
    if (unresponsive) throw new ApiError(503, 'ERR_NOT_LIVE', `Not live: ${unresponsive.message}.`);
    return { status: 'live' };
  }

  @ApiOperation({
    summary: 'Whether it takes requests now',
    description:
      'The networks are loaded and warmed up, every queue has room, and nobody has asked it to stop.',
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
  ready(): Readiness {
    if (this.shutdown.begun) throw notReady('it is shutting down');
    const { unresponsive } = this.digits;
    if (unresponsive) throw notReady(unresponsive.message);
    for (const { name, state, waiting, options } of this.registry.stats()) {
      if (state === 'stopping' || state === 'stopped') throw notReady(`${name} is ${state}`);
      if (waiting >= options.maxQueued) throw notReady(`${name} is full: ${waiting} inputs wait`);
    }
    // Known here, without asking the worker: what it runs just now may take longer than an orchestrator's patience.
    for (const { name, ready } of [this.digits, this.esrgan]) {
      if (!ready)
        throw notReady(`model '${name}' is being loaded and warmed up, or was refused; the log says which`);
    }
    return { status: 'ready', backend: this.digits.backend, device: this.digits.device };
  }
}

function notReady(why: string): ApiError {
  return new ApiError(503, 'ERR_NOT_READY', `Not ready: ${why}.`);
}
