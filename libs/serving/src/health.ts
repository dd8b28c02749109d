import { HttpException, Injectable } from '@nestjs/common';
import {
  type HealthCheckResult,
  HealthCheckService,
  type HealthIndicatorFunction,
  HealthIndicatorService,
} from '@nestjs/terminus';
import { ApiError } from './api-error.js';
import { Shutdown } from './shutdown.js';

/** Terminus' checks, answered in the shape of every other answer and error. */
@Injectable()
export class Health {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly shutdown: Shutdown,
  ) {}

  /**
   * @param indicators from `indicator`, asked in their order
   * @throws {ApiError} 503 `ERR_NOT_LIVE` or `ERR_NOT_READY`, with the reasons of all that are down
   */
  async check<Word extends 'live' | 'ready'>(
    word: Word,
    indicators: HealthIndicatorFunction[],
  ): Promise<{ status: Word }> {
    try {
      await this.health.check(indicators);
    } catch (error) {
      if (!(error instanceof HttpException)) throw error;
      const { error: down = {} } = error.getResponse() as HealthCheckResult;
      const reasons = new Set(Object.values(down).map((indicator) => String(indicator?.message)));
      const message = `Not ${word}: ${[...reasons].join('; ')}.`;
      throw new ApiError(503, `ERR_NOT_${word.toUpperCase()}`, message, { details: down });
    }
    return { status: word };
  }

  /** @param problem why it is down; `undefined` where it is up */
  indicator(name: string, problem: () => string | undefined): HealthIndicatorFunction {
    return () => {
      const indicator = this.indicators.check(name);
      const why = problem();
      return why === undefined ? indicator.up() : indicator.down(why);
    };
  }

  /** Down from the first signal to end. */
  get server(): HealthIndicatorFunction {
    return this.indicator('server', () => (this.shutdown.begun ? 'it is shutting down' : undefined));
  }
}
