import { type DynamicModule, Module } from '@nestjs/common';
import { createDashboardController } from './dashboard-controller.js';
import {
  type BatchingDashboardOptions,
  checkDashboardOptions,
  DASHBOARD_OPTIONS,
} from './dashboard-options.js';
import { LiveFeed } from './live-feed.js';

/**
 * A live page of the application's queues: `BatchingDashboardModule.forRoot({ path: 'batching' })`. It is there only if
 * it is imported, needs `BatchingModule.forRoot()`, and loads nothing from elsewhere.
 */
@Module({})
export class BatchingDashboardModule {
  /**
   * @param options where the page is, who may see it, and whether settings may be changed on it
   * @throws TypeError or RangeError for an invalid option, or for `tune` with neither `guards` nor `unguarded`
   */
  static forRoot(options: BatchingDashboardOptions = {}): DynamicModule {
    const checked = checkDashboardOptions(options);
    return {
      module: BatchingDashboardModule,
      imports: checked.imports,
      controllers: [createDashboardController(checked)],
      providers: [{ provide: DASHBOARD_OPTIONS, useValue: checked }, LiveFeed],
    };
  }
}
