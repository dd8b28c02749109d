import { join } from 'node:path';
import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { BatchingExceptionFilter, BatchingModule, BatchingRegistry } from 'nest-batching';
import { CheckErrorFilter } from './api-error.js';
import type { Configuration } from './configuration.js';
import { Connections } from './connections.js';
import { MemberDatabase } from './members/member-database.js';
import { MemberDirectory } from './members/member-directory.js';
import { MembersController } from './members/members.controller.js';
import { PageController } from './page.controller.js';
import { ReceiptCounter } from './receipts/receipt-counter.js';

@Module({
  providers: [
    MemberDirectory,
    Connections,
    { provide: APP_FILTER, useClass: BatchingExceptionFilter },
    { provide: APP_FILTER, useClass: CheckErrorFilter },
  ],
  controllers: [MembersController, PageController],
})
export class AppModule {
  static with({ batchSize, dataFolder }: Configuration, database: MemberDatabase): DynamicModule {
    return {
      module: AppModule,
      imports: [
        BatchingModule.forRoot({
          queues: {
            'MemberDirectory.findById': { batchSize, concurrency: database.readers },
            'MemberDirectory.add': { batchSize },
          },
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
