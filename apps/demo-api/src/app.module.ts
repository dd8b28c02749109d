import { ServingModule, shutdownStages } from '@app/serving';
import { type DynamicModule, Global, Module } from '@nestjs/common';
import { BatchingModule } from 'nest-batching';
import { TfjsModule } from 'nest-batching/tfjs';
import { Configuration } from './configuration.js';
import { DigitClassifier } from './digits/digit-classifier.js';
import { DigitsController } from './digits/digits.controller.js';
import { digits } from './digits/digits-network.js';
import { HealthController } from './health.controller.js';
import { RequestBodies } from './http/request-body.js';
import { PageController } from './page.controller.js';
import { esrganWithTest } from './photos/esrgan.js';
import { PhotoUpscaler } from './photos/photo-upscaler.js';
import { PhotosController } from './photos/photos.controller.js';
import { TileUpscaler } from './photos/tile-upscaler.js';
import { BatchHistory } from './queues/batch-history.js';
import { LiveView } from './queues/live-view.js';
import { QueuesController } from './queues/queues.controller.js';

@Global()
@Module({})
class ConfigurationModule {}

@Module({
  imports: [
    ServingModule.forRootAsync({
      inject: [Configuration],
      useFactory: ({ shutdownTimeout, shutdownDelay }: Configuration) => ({
        timeout: shutdownTimeout,
        delay: shutdownDelay,
      }),
    }),
    BatchingModule.forRootAsync({
      inject: [Configuration],
      useFactory: ({
        batchSize,
        maxDelay,
        dispatch,
        maxQueued,
        tileBatchSize,
        shutdownTimeout,
      }: Configuration) => ({
        queues: {
          'DigitClassifier.classify': { batchSize, maxDelay, dispatch, maxQueued },
          'TileUpscaler.upscale': { batchSize: tileBatchSize },
        },
        shutdownTimeout: shutdownStages(shutdownTimeout).queues,
      }),
    }),
    TfjsModule.forRootAsync({
      inject: [Configuration],
      useFactory: ({ backend, heartbeat }: Configuration) => ({ backend, heartbeat }),
    }),
  ],
  providers: [DigitClassifier, TileUpscaler, PhotoUpscaler, BatchHistory, LiveView, RequestBodies],
  controllers: [DigitsController, PhotosController, HealthController, QueuesController, PageController],
})
export class AppModule {
  static with(configuration: Configuration): DynamicModule {
    return {
      module: AppModule,
      imports: [
        {
          module: ConfigurationModule,
          providers: [{ provide: Configuration, useValue: configuration }],
          exports: [Configuration],
        },
        TfjsModule.forFeature([digits(), esrganWithTest()]),
      ],
    };
  }
}
