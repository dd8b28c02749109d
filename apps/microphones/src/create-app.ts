import { checkUrl, enableShutdown, ErrorFilter, limitServer, securityHeaders } from '@app/serving';
import { ConsoleLogger, type INestApplication, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { WsAdapter } from '@nestjs/platform-ws';
import { BatchingExceptionFilter } from 'nest-batching';
import { AppModule } from './app.module.js';
import type { Configuration } from './configuration.js';

/** Connections beyond those of the microphones, for pages, walls and checks. */
const OTHER_CONNECTIONS = 200;

/** The application as it runs, and as the tests run it; `listen` starts it. */
export async function createApp(configuration: Configuration): Promise<INestApplication> {
  const options: Pick<NestApplicationOptions, 'abortOnError' | 'bodyParser' | 'logger'> = {
    abortOnError: false,
    bodyParser: false,
    logger: new ConsoleLogger({ logLevels: ['warn', 'error', 'fatal'] }),
  };
  const app = await NestFactory.create(AppModule.with(configuration), options);
  limitServer(app, {
    connections: configuration.maxMicrophones + OTHER_CONNECTIONS,
    requestsPerConnection: 16,
  });
  app.use(securityHeaders({ imgSrc: ["'self'", 'data:'] }));
  app.use(checkUrl);
  // Nest's own reads every message as JSON.
  app.useWebSocketAdapter(new WsAdapter(app, { messageParser: eventOf }));
  const http = app.getHttpAdapter();
  app.useGlobalFilters(new ErrorFilter(http), new BatchingExceptionFilter(http));
  enableShutdown(app);
  return app;
}

function eventOf(data: unknown): { event: 'text' | 'bytes'; data: unknown } {
  return { event: typeof data === 'string' ? 'text' : 'bytes', data };
}
