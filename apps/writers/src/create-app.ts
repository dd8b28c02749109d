import type { IncomingMessage } from 'node:http';
import {
  AppValidationPipe,
  checkBody,
  checkUrl,
  enableShutdown,
  ErrorFilter,
  limitBodies,
  limitServer,
  securityHeaders,
} from '@app/serving';
import { ConsoleLogger, type INestApplication, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { BatchingExceptionFilter } from 'nest-batching';
import { AppModule } from './app.module.js';
import type { Configuration } from './configuration.js';

/** Most bytes of a body; no valid one has as many. */
const BODY_LIMIT = 16_000;

/** The application as it runs, and as the tests run it; `listen` starts it. */
export async function createApp(configuration: Configuration): Promise<INestApplication> {
  const options: Pick<NestApplicationOptions, 'abortOnError' | 'bodyParser' | 'logger'> = {
    abortOnError: false,
    // Nest would read forms as well.
    bodyParser: false,
    logger: new ConsoleLogger({ logLevels: ['warn', 'error', 'fatal'] }),
  };
  const app = await NestFactory.create<NestExpressApplication>(AppModule.with(configuration), options);
  limitServer(app, {
    connections: configuration.maxConnections,
    requestsPerConnection: configuration.maxPipelined,
  });
  // The page's icon is none.
  app.use(securityHeaders({ imgSrc: ["'self'", 'data:'] }));
  app.use(checkUrl);
  limitBodies(app, {
    limitOf: ({ method }: IncomingMessage) =>
      method === 'GET' || method === 'HEAD' ? undefined : BODY_LIMIT,
    total: 1000 * BODY_LIMIT,
    time: configuration.bodyTimeout,
  });
  // Nest passes `verify` on; its type leaves it out, because Nest's own `rawBody` is made with it.
  const parser = { type: () => true, verify: checkBody };
  app.useBodyParser('json', parser);
  app.useGlobalPipes(new AppValidationPipe({ forbidNonWhitelisted: true }));
  const http = app.getHttpAdapter();
  app.useGlobalFilters(new ErrorFilter(http), new BatchingExceptionFilter(http));
  enableShutdown(app);
  return app;
}
