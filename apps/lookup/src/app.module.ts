import { join } from 'node:path';
import {
  CONFIGURATION,
  configurationModule,
  houseFolders,
  MetricsModule,
  ReferenceController,
  referenceFolders,
  ServingModule,
  shutdownStages,
  staticFolders,
} from '@app/serving';
import { type DynamicModule, Module } from '@nestjs/common';
import { ServeStaticModule } from '@nestjs/serve-static';
import { BatchingModule, BatchingRegistry } from 'nest-batching';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { appFolder } from './app-folder.js';
import type { Configuration } from './configuration.js';
import { HealthController } from './health.controller.js';
import { MemberDatabase } from './members/member-database.js';
import { MemberDirectory } from './members/member-directory.js';
import { MembersController } from './members/members.controller.js';
import { NumbersController } from './numbers.controller.js';
import { ReceiptCounter } from './receipts/receipt-counter.js';

@Module({
  imports: [
    ServingModule.forRootAsync({
      inject: [CONFIGURATION],
      useFactory: ({ shutdownTimeout, shutdownDelay }: Configuration) => ({
        timeout: shutdownTimeout,
        delay: shutdownDelay,
      }),
    }),
    // By default every path that is no file would get the page.
    ServeStaticModule.forRoot(
      { rootPath: join(appFolder, 'public'), renderPath: '/' },
      ...staticFolders({ ...houseFolders, ...referenceFolders }),
    ),
  ],
  providers: [
    BatchingHealthIndicator,
    MemberDirectory,
    {
      provide: ReceiptCounter,
      inject: [CONFIGURATION, BatchingRegistry],
      useFactory: ({ dataFolder }: Configuration, registry: BatchingRegistry) =>
        new ReceiptCounter(join(dataFolder, 'receipts.txt'), registry),
    },
  ],
  controllers: [MembersController, HealthController, NumbersController, ReferenceController],
})
export class AppModule {
  static with(configuration: Configuration, database: MemberDatabase): DynamicModule {
    const { batchSize, shutdownTimeout, sloP99 } = configuration;
    return {
      module: AppModule,
      imports: [
        configurationModule(configuration),
        MetricsModule.forRoot({ p99: sloP99 }),
        BatchingModule.forRoot({
          queues: {
            'MemberDirectory.findById': { batchSize, concurrency: database.readers },
            'MemberDirectory.add': { batchSize },
          },
          shutdownTimeout: shutdownStages(shutdownTimeout).queues,
        }),
      ],
      providers: [{ provide: MemberDatabase, useValue: database }],
    };
  }
}
