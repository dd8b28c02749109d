import {
  CONFIGURATION,
  configurationModule,
  MetricsModule,
  ReferenceController,
  ServingModule,
  shutdownStages,
} from '@app/serving';
import { type DynamicModule, Module } from '@nestjs/common';
import { ServeStaticModule } from '@nestjs/serve-static';
import { BatchingModule } from 'nest-batching';
import { BatchingDashboardModule } from 'nest-batching/dashboard';
import { OnnxModule } from 'nest-batching/onnx';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { TfjsModule } from 'nest-batching/tfjs';
import type { Configuration } from './configuration.js';
import { DigitClassifier } from './digits/digit-classifier.js';
import { DigitsController } from './digits/digits.controller.js';
import { DIGITS_NETWORK, digits, digitsOnnx, digitsToken } from './digits/digits-network.js';
import { Journeys } from './digits/journeys.js';
import { HealthController } from './health.controller.js';
import { folders, PageController } from './page.controller.js';
import { esrganWithTest } from './photos/esrgan.js';
import { PhotoPlaces } from './photos/photo-places.js';
import { PhotoUpscaler } from './photos/photo-upscaler.js';
import { PhotosController } from './photos/photos.controller.js';
import { TileUpscaler } from './photos/tile-upscaler.js';
import { BatchHistory } from './queues/batch-history.js';
import { LiveView } from './queues/live-view.js';
import { QueuesController } from './queues/queues.controller.js';
import { Race } from './race/race.js';
import { RaceController } from './race/race.controller.js';
import { RaceLanes } from './race/race-lanes.js';

@Module({
  imports: [
    ServingModule.forRootAsync({
      inject: [CONFIGURATION],
      useFactory: ({ shutdownTimeout, shutdownDelay }: Configuration) => ({
        timeout: shutdownTimeout,
        delay: shutdownDelay,
      }),
    }),
    BatchingModule.forRootAsync({
      inject: [CONFIGURATION],
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
          'RaceLanes.oneByOne': { maxDelay, dispatch },
          'RaceLanes.batched': { batchSize, maxDelay, dispatch },
        },
        shutdownTimeout: shutdownStages(shutdownTimeout).queues,
      }),
    }),
    TfjsModule.forRootAsync({
      inject: [CONFIGURATION],
      useFactory: ({ backend, heartbeat, workers }: Configuration) => ({
        backend: backend === 'onnx' ? 'auto' : backend,
        heartbeat,
        workers,
      }),
    }),
    ServeStaticModule.forRoot(...folders),
  ],
  providers: [
    BatchingHealthIndicator,
    DigitClassifier,
    Journeys,
    TileUpscaler,
    PhotoPlaces,
    PhotoUpscaler,
    RaceLanes,
    Race,
    BatchHistory,
    LiveView,
  ],
  controllers: [
    DigitsController,
    PhotosController,
    RaceController,
    HealthController,
    QueuesController,
    PageController,
    ReferenceController,
  ],
})
export class AppModule {
  static with(configuration: Configuration): DynamicModule {
    const { backend, heartbeat, workers, sloP99, tune, maxViewers } = configuration;
    const models =
      backend === 'onnx'
        ? [
            TfjsModule.forFeature([esrganWithTest()]),
            OnnxModule.forRoot({ heartbeat, workers }),
            OnnxModule.forFeature([digitsOnnx()]),
          ]
        : [TfjsModule.forFeature([digits(), esrganWithTest()])];
    return {
      module: AppModule,
      imports: [
        configurationModule(configuration),
        // A photo is many tiles; they have no aim.
        MetricsModule.forRoot({ queues: { 'DigitClassifier.classify': sloP99 } }),
        // With TUNE on, every visitor can change the settings.
        BatchingDashboardModule.forRoot({
          path: 'batching',
          tune: tune === 'on',
          unguarded: true,
          maxViewers: Math.max(1, maxViewers),
        }),
        ...models,
      ],
      providers: [{ provide: DIGITS_NETWORK, useExisting: digitsToken(backend) }],
    };
  }
}
