import { Shutdown } from '@app/serving';
import { Controller, Get } from '@nestjs/common';
import { ApiError } from './api-error.js';

/** For what sends traffic here: a load balancer, an orchestrator. */
@Controller('health')
export class HealthController {
  constructor(private readonly shutdown: Shutdown) {}

  /** Whether it takes requests: from the start, which waits for the database, to the first signal to end. */
  @Get('ready')
  ready(): { status: 'ready' } {
    if (this.shutdown.begun) throw new ApiError(503, 'ERR_NOT_READY', 'Not ready: it is shutting down.');
    return { status: 'ready' };
  }
}
