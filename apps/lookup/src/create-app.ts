import { join } from 'node:path';
import { progressBar } from '@app/figures';
import {
  AppValidationPipe,
  checkBody,
  checkUrl,
  enableShutdown,
  ErrorFilter,
  limitServer,
  securityHeaders,
  serveDocument,
} from '@app/serving';
import { ConsoleLogger, type INestApplication, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { BatchingExceptionFilter } from 'nest-batching';
import { createApiDocument } from './api-document.js';
import { AppModule } from './app.module.js';
import type { Configuration } from './configuration.js';
import type { MemberDatabase } from './members/member-database.js';
import { PostgresDatabase } from './members/postgres-database.js';
import { sampleMembers } from './members/sample-members.js';
import { SqliteDatabase } from './members/sqlite-database.js';
import { asJson } from './validators.js';

/** The application as it runs, and as the tests run it; `listen` starts it. */
export async function createApp(configuration: Configuration): Promise<INestApplication> {
  const database = await openDatabase(configuration);
  const options: Pick<NestApplicationOptions, 'abortOnError' | 'bodyParser' | 'logger'> = {
    abortOnError: false,
    // Nest would read forms as well.
    bodyParser: false,
    logger: new ConsoleLogger({ logLevels: ['warn', 'error', 'fatal'] }),
  };
  const app = await NestFactory.create<NestExpressApplication>(
    AppModule.with(configuration, database),
    options,
  );
  limitServer(app, {
    connections: configuration.maxConnections,
    requestsPerConnection: configuration.maxPipelined,
  });
  // The pages' icon, which is none, and the arrows that Swagger UI draws.
  app.use(securityHeaders({ imgSrc: ["'self'", 'data:'] }));
  app.use(checkUrl);
  // Nest passes `verify` on; its type leaves it out, because Nest's own `rawBody` is made with it.
  const parser = { type: () => true, verify: checkBody };
  app.useBodyParser('json', parser);
  app.useGlobalPipes(new AppValidationPipe({ forbidNonWhitelisted: true, show: asJson }));
  const http = app.getHttpAdapter();
  app.useGlobalFilters(new ErrorFilter(http), new BatchingExceptionFilter(http));
  serveDocument(app, createApiDocument(app));
  enableShutdown(app);
  return app;
}

export function openDatabase({ databaseUrl, dataFolder, members }: Configuration): Promise<MemberDatabase> {
  const samples = withProgress(sampleMembers(members), members);
  return databaseUrl === ''
    ? SqliteDatabase.open(join(dataFolder, 'members.sqlite'), samples)
    : PostgresDatabase.open(databaseUrl, samples);
}

function* withProgress<T>(items: Iterable<T>, count: number): Generator<T> {
  const start = performance.now();
  const bar = progressBar('{bar} filling the new database: {value} of {total} members');
  bar.start(count, 0);
  try {
    for (const item of items) {
      yield item;
      bar.increment();
    }
  } finally {
    bar.stop();
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  process.stderr.write(`Filled the new database with ${count} members in ${seconds} s.\n`);
}
