import { join } from 'node:path';
import { progressBar } from '@app/figures';
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
