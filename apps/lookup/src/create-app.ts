import { join } from 'node:path';
import { enableShutdown } from '@app/serving';
import { ConsoleLogger, type INestApplication, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import type { Configuration } from './configuration.js';
import type { MemberDatabase } from './members/member-database.js';
import { PostgresDatabase } from './members/postgres-database.js';
import { sampleMembers } from './members/sample-members.js';
import { SqliteDatabase } from './members/sqlite-database.js';

/** The application as it runs, and as the tests run it; `listen` starts it. */
export async function createApp(configuration: Configuration): Promise<INestApplication> {
  const database = await openDatabase(configuration);
  const options: Pick<NestApplicationOptions, 'abortOnError' | 'logger'> = {
    abortOnError: false,
    logger: new ConsoleLogger({ logLevels: ['warn', 'error', 'fatal'] }),
  };
  const app = await NestFactory.create(AppModule.with(configuration, database), options);
  enableShutdown(app);
  return app;
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
