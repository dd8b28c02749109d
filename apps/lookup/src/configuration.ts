import { join } from 'node:path';
import { Integer, readEnvironment } from '@app/serving';
import { applyDecorators } from '@nestjs/common';
import { Matches } from 'class-validator';
import { appFolder } from './app-folder.js';
import { asJson, WellFormed, wholeNumber } from './validators.js';

/** The settings, each from the environment variable of its name, with its default. See README.md. */
export class Configuration {
  @Whole(0, 65_535) readonly port: number = 3001;
  @Text() readonly host: string = '127.0.0.1';
  /** Empty: SQLite. */
  @Text()
  @Matches(/^$|^postgres(ql)?:\/\//, {
    message: 'postgres://user:password@host:port/database, or nothing for SQLite',
  })
  readonly databaseUrl: string = '';
  /** Where SQLite's file and the receipt counter are. */
  @Text() readonly dataFolder: string = join(appFolder, 'data');
  /** How many a new database is filled with. */
  @Whole(1, 10_000_000) readonly members: number = 100_000;
  /** Most in one batch, of lookups and of inserts. */
  @Whole(1, 10_000) readonly batchSize: number = 256;
  /** Most connections at once; requests on others are answered with 503. */
  @Whole(1, 1_000_000) readonly maxConnections: number = 1000;
  /** Most requests of one connection in progress at once; the others are not read until earlier ones are answered. */
  @Whole(1, 10_000) readonly maxPipelined: number = 16;
  /** Milliseconds below which 99 of 100 lookups are to end, for the metric `batching_replicas_needed`. */
  @Whole(1, 60_000) readonly sloP99: number = 100;
  /** Longest from a signal until the process ends by it, in milliseconds. */
  @Whole(0, 3_600_000) readonly shutdownTimeout: number = 10_000;
  /** How long the port stays open after a SIGTERM, in milliseconds. */
  @Whole(0, 600_000) readonly shutdownDelay: number = 250;
}

/** @throws {EnvironmentError} that names every variable that is not what it may be */
export function readConfiguration(environment: NodeJS.ProcessEnv): Configuration {
  return readEnvironment(Configuration, environment, asJson);
}

function Whole(minimum: number, maximum: number): PropertyDecorator {
  return Integer(minimum, maximum, undefined, wholeNumber);
}

/** Node reads the environment as UTF-8 and puts U+FFFD where it is not: a folder of another name, for instance. */
function Text(): PropertyDecorator {
  return applyDecorators(WellFormed(), Matches(/^[^\ufffd]*$/, { message: 'a text in UTF-8' }));
}
