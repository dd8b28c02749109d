import { join } from 'node:path';
import {
  CONFIGURATION,
  configurationModule,
  houseFolders,
  MetricsModule,
  ReadinessController,
  ServingModule,
  shutdownStages,
  staticFolders,
} from '@app/serving';
import { type DynamicModule, Module } from '@nestjs/common';
import { ServeStaticModule } from '@nestjs/serve-static';
import { BatchingModule } from 'nest-batching';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { TfjsModule } from 'nest-batching/tfjs';
import { appFolder } from './app-folder.js';
import type { Configuration } from './configuration.js';
import { Network, network } from './network.js';
import { Race } from './race.js';
import { StaticBatches } from './static-batches.js';
import { Streams } from './streams.js';
import { Walls } from './walls.js';
import { WallsController } from './walls.controller.js';
import { Writer } from './writer.js';
import { WritersController } from './writers.controller.js';

@Module({
  imports: [
    ServingModule.forRootAsync({
      inject: [CONFIGURATION],
      useFactory: ({ shutdownTimeout, shutdownDelay }: Configuration) => ({
        timeout: shutdownTimeout,
        delay: shutdownDelay,
      }),
    }),
    MetricsModule.forRoot(),
    TfjsModule.forRootAsync({
      inject: [CONFIGURATION],
      // Several workers would share each batch, and each would run its part at the full size.
      useFactory: ({ backend }: Configuration) => ({ backend, workers: 1 }),
    }),
    TfjsModule.forFeature([network()]),
    // By default every path that is no file would get the page.
    ServeStaticModule.forRoot(
      { rootPath: join(appFolder, 'public'), renderPath: '/' },
      ...staticFolders(houseFolders),
    ),
  ],
  providers: [BatchingHealthIndicator, Network, Writer, StaticBatches, Streams, Walls, Race],
  controllers: [WritersController, WallsController, ReadinessController],
})
export class AppModule {
  static with(configuration: Configuration): DynamicModule {
    return {
      module: AppModule,
      imports: [
        configurationModule(configuration),
        BatchingModule.forRoot({ shutdownTimeout: shutdownStages(configuration.shutdownTimeout).queues }),
      ],
    };
  }
}
