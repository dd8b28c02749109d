import { join } from 'node:path';
import { ServingModule, shutdownStages } from '@app/serving';
import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { BatchingExceptionFilter, BatchingModule, BatchingRegistry } from 'nest-batching';
import { CheckErrorFilter, HttpErrorFilter } from './api-error.js';
import type { Configuration } from './configuration.js';
import { HealthController } from './health.controller.js';
import { MemberDatabase } from './members/member-database.js';
import { MemberDirectory } from './members/member-directory.js';
import { MembersController } from './members/members.controller.js';
import { PageController } from './page.controller.js';
import { ReceiptCounter } from './receipts/receipt-counter.js';

@Module({
  providers: [
    MemberDirectory,
    { provide: APP_FILTER, useClass: BatchingExceptionFilter },
    { provide: APP_FILTER, useClass: HttpErrorFilter },
    { provide: APP_FILTER, useClass: CheckErrorFilter },
  ],
  controllers: [MembersController, HealthController, PageController],
})
export class AppModule {
  static with(
    { batchSize, dataFolder, shutdownTimeout, shutdownDelay }: Configuration,
    database: MemberDatabase,
  ): DynamicModule {
    return {
      module: AppModule,
      imports: [
        ServingModule.forRoot({ timeout: shutdownTimeout, delay: shutdownDelay }),
        BatchingModule.forRoot({
          queues: {
            'MemberDirectory.findById': { batchSize, concurrency: database.readers },
            'MemberDirectory.add': { batchSize },
          },
          shutdownTimeout: shutdownStages(shutdownTimeout).queues,
        }),
      ],
      providers: [
        { provide: MemberDatabase, useValue: database },
        {
          provide: ReceiptCounter,
          inject: [BatchingRegistry],
          useFactory: (registry: BatchingRegistry) =>
            new ReceiptCounter(join(dataFolder, 'receipts.txt'), registry),
        },
      ],
    };
  }
}
