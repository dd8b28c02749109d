import { Integer, readEnvironment } from '@app/serving';
import { IsIn, Matches } from 'class-validator';
import { type TfjsBackend } from 'nest-batching/tfjs';

const BACKENDS = ['auto', 'tensorflow', 'webgpu', 'wasm', 'cpu'] as const;

/** The settings, each from the environment variable of its name, with its default. Times are milliseconds. See README.md. */
export class Configuration {
  @Integer(0, 65_535) readonly port: number = 3002;
  // Node reads the environment as UTF-8, and puts U+FFFD where it is not.
  @Matches(/^[^\p{Surrogate}\ufffd]*$/u, { message: 'a text in UTF-8' })
  readonly host: string = '127.0.0.1';
  @IsIn(BACKENDS, { message: `one of ${BACKENDS.join(', ')}` })
  readonly backend: TfjsBackend | 'auto' = 'wasm';
  /** Most texts that are written at once, those on walls included. */
  @Integer(1, 100_000) readonly maxWriters: number = 512;
  /** Most walls that are open at once. */
  @Integer(0, 10_000) readonly maxWalls: number = 20;
  /** Longest that a reader may leave full buffers unread. Then its stream ends. */
  @Integer(10, 3_600_000) readonly readerTimeout: number = 10_000;
  /** Most connections at once; requests on others are answered with 503. */
  @Integer(1, 1_000_000) readonly maxConnections: number = 2000;
  /** Most requests of one connection in progress at once. */
  @Integer(1, 10_000) readonly maxPipelined: number = 16;
  /** Longest that a body may take to arrive. */
  @Integer(1, 3_600_000) readonly bodyTimeout: number = 30_000;
  /** Longest from a signal until the process ends by it. */
  @Integer(0, 3_600_000) readonly shutdownTimeout: number = 10_000;
  /** How long the port stays open after a SIGTERM. */
  @Integer(0, 600_000) readonly shutdownDelay: number = 250;
}

/** @throws {EnvironmentError} that names every variable that is not what it may be */
export function readConfiguration(environment: NodeJS.ProcessEnv): Configuration {
  return readEnvironment(Configuration, environment);
}
