import { join } from 'node:path';
import {
  appFolder,
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
import { OnnxModule } from 'nest-batching/onnx';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import type { Configuration } from './configuration.js';
import { MicrophoneGateway } from './microphone.gateway.js';
import { Places } from './places.js';
import { VoiceDetector } from './voice-detector.js';
import { WallGateway } from './wall.gateway.js';

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
    OnnxModule.forFeature([
      { name: 'voice', path: join(appFolder('microphones'), 'models/silero-vad/voice.onnx') },
    ]),
    // By default every path that is no file would get the page.
    ServeStaticModule.forRoot(
      { rootPath: join(appFolder('microphones'), 'public'), renderPath: '/' },
      ...staticFolders(houseFolders),
    ),
  ],
  providers: [BatchingHealthIndicator, VoiceDetector, Places, MicrophoneGateway, WallGateway],
  controllers: [ReadinessController],
})
export class AppModule {
  static with(configuration: Configuration): DynamicModule {
    const { workers, batchSize, shutdownTimeout } = configuration;
    return {
      module: AppModule,
      imports: [
        configurationModule(configuration),
        // The network is small: the way to a GPU and back would take longer.
        OnnxModule.forRoot({ executionProvider: 'cpu', workers }),
        BatchingModule.forRoot({
          // Two batches at a time keep all workers busy.
          queues: { 'VoiceDetector.hear': { batchSize, concurrency: 2 } },
          shutdownTimeout: shutdownStages(shutdownTimeout).queues,
        }),
      ],
    };
  }
}
