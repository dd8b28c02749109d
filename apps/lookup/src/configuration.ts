import { join } from 'node:path';
import { appFolder } from './app-folder.js';
import { ObjectSchema, numberIn, type Property } from './check.js';

/** Node reads the environment as UTF-8 and puts U+FFFD where it is not: a folder of another name, for instance. */
const utf8 = { pattern: '^[^\\ufffd]*$', description: 'a text in UTF-8' };

/** Every variable that is read, what it may be, and what it is when it is not set or empty. See README.md. */
export const variables = {
  PORT: integer(0, 65_535, 3001),
  HOST: {
    type: 'string',
    description: 'an address of this machine',
    allOf: [utf8],
    default: '127.0.0.1',
  },
  DATABASE_URL: {
    type: 'string',
    pattern: '^$|^postgres(ql)?://',
    description: 'postgres://user:password@host:port/database, or nothing for SQLite',
    allOf: [utf8],
    default: '',
  },
  DATA_FOLDER: {
    type: 'string',
    description: 'a folder',
    allOf: [utf8],
    default: join(appFolder, 'data'),
  },
  MEMBERS: integer(1, 10_000_000, 100_000),
  BATCH_SIZE: integer(1, 10_000, 256),
  MAX_CONNECTIONS: integer(1, 1_000_000, 1000),
  MAX_PIPELINED: integer(1, 10_000, 16),
  SHUTDOWN_TIMEOUT: integer(0, 3_600_000, 10_000),
  SHUTDOWN_DELAY: integer(0, 600_000, 250),
} satisfies Record<string, Property>;

/** The settings of the application. */
export interface Configuration {
  port: number;
  host: string;
  /** Empty: SQLite. */
  databaseUrl: string;
  /** Where SQLite's file and the receipt counter are. */
  dataFolder: string;
  /** How many a new database is filled with. */
  members: number;
  /** Most in one batch, of lookups and of inserts. */
  batchSize: number;
  /** Most connections at once; requests on others are answered with 503. */
  maxConnections: number;
  /** Most requests of one connection in progress at once; the others are not read until earlier ones are answered. */
  maxPipelined: number;
  /** Longest from a signal until the process ends by it, in milliseconds. */
  shutdownTimeout: number;
  /** How long the port stays open after a SIGTERM, in milliseconds. */
  shutdownDelay: number;
}

/** @throws {CheckError} that names every variable that is not what it may be */
export function readConfiguration(environment: NodeJS.ProcessEnv): Configuration {
  const given: Record<string, unknown> = {};
  for (const [name, { type }] of Object.entries(variables)) {
    const text = environment[name];
    if (text) given[name] = type === 'integer' ? numberIn(text) : text;
  }
  const { PORT, HOST, DATABASE_URL, DATA_FOLDER, MEMBERS, BATCH_SIZE, ...server } =
    environmentSchema.check(given);
  return {
    port: PORT,
    host: HOST,
    databaseUrl: DATABASE_URL,
    dataFolder: DATA_FOLDER,
    members: MEMBERS,
    batchSize: BATCH_SIZE,
    maxConnections: server.MAX_CONNECTIONS,
    maxPipelined: server.MAX_PIPELINED,
    shutdownTimeout: server.SHUTDOWN_TIMEOUT,
    shutdownDelay: server.SHUTDOWN_DELAY,
  };
}

const environmentSchema = new ObjectSchema<{
  [Name in keyof typeof variables]: (typeof variables)[Name]['default'];
}>(variables);

function integer(minimum: number, maximum: number, preset: number) {
  const description = `an integer from ${minimum} to ${maximum}`;
  return { type: 'integer', minimum, maximum, description, default: preset };
}
