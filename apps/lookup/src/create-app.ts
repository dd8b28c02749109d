import { join } from 'node:path';
import { checkUrl, enableShutdown, limitServer } from '@app/serving';
import { ConsoleLogger, type INestApplication, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import helmet from 'helmet';
import { AppModule } from './app.module.js';
import type { Configuration } from './configuration.js';
import type { MemberDatabase } from './members/member-database.js';
import { PostgresDatabase } from './members/postgres-database.js';
import { sampleMembers } from './members/sample-members.js';
import { SqliteDatabase } from './members/sqlite-database.js';
import { inlineHashes } from './page.controller.js';
import { checkBody } from './check-body.js';

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
  app.use(securityHeaders());
  app.use(checkUrl);
  // Nest passes `verify` on; its type leaves it out, for those who want `rawBody`, which is made with it.
  const parser = { type: () => true, verify: checkBody };
  app.useBodyParser('json', parser);
  enableShutdown(app);
  return app;
}

function securityHeaders() {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        scriptSrc: inlineHashes('script'),
        styleSrc: inlineHashes('style'),
        // The page's icon, which is none.
        imgSrc: ["'self'", 'data:'],
        objectSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
    },
    // Whether there is HTTPS at all is for the proxy that ends it in front of this server.
    strictTransportSecurity: false,
  });
}

export function openDatabase({ databaseUrl, dataFolder, members }: Configuration): Promise<MemberDatabase> {
  const samples = withProgress(sampleMembers(members), members);
  return databaseUrl === ''
    ? SqliteDatabase.open(join(dataFolder, 'members.sqlite'), samples)
    : PostgresDatabase.open(databaseUrl, samples);
}

/** Tells how far it is. On a terminal in one line, which changes; elsewhere, as in a log file, once at the end. */
function* withProgress<T>(items: Iterable<T>, count: number): Generator<T> {
  const start = performance.now();
  let done = 0;
  for (const item of items) {
    yield item;
    done++;
    if (process.stderr.isTTY && done % 5000 === 0) {
      process.stderr.write(`\rFilling the new database: ${done} of ${count} members`);
    }
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  process.stderr.write(
    `${process.stderr.isTTY ? '\r' : ''}Filled the new database with ${done} members in ${seconds} s.\n`,
  );
}
