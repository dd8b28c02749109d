import { Integer, readEnvironment, toNumber } from '@app/serving';
import { Matches, ValidateIf } from 'class-validator';

/** The settings, each from the environment variable of its name, with its default. Times are milliseconds. See README.md. */
export class Configuration {
  @Integer(0, 65_535) readonly port: number = 3003;
  // Node reads the environment as UTF-8, and puts U+FFFD where it is not.
  @Matches(/^[^\p{Surrogate}\ufffd]*$/u, { message: 'a text in UTF-8' })
  readonly host: string = '127.0.0.1';
  @ValidateIf((_, value) => value !== 'auto')
  @Integer(1, 256, 'auto or an integer from 1 to 256', (text) => (text === 'auto' ? text : toNumber(text)))
  readonly workers: number | 'auto' = 'auto';
  /** Most frames in one batch. */
  @Integer(1, 4096) readonly batchSize: number = 64;
  /** Most microphones at once, those of the walls included. */
  @Integer(1, 100_000) readonly maxMicrophones: number = 1000;
  /** Most frames of one microphone without an answer. A frame lasts 32 ms. */
  @Integer(1, 10_000) readonly maxPending: number = 16;
  /** Most bytes of answers that a client has not read. */
  @Integer(1024, 100_000_000) readonly maxUnread: number = 65_536;
  /** Longest time between two frames of a microphone. */
  @Integer(1, 3_600_000) readonly idleTimeout: number = 10_000;
  /** Longest from a signal until the process ends by it. */
  @Integer(0, 3_600_000) readonly shutdownTimeout: number = 10_000;
  /** How long the port stays open after a SIGTERM. */
  @Integer(0, 600_000) readonly shutdownDelay: number = 250;
}

/** @throws {EnvironmentError} that names every variable that is not what it may be */
export function readConfiguration(environment: NodeJS.ProcessEnv): Configuration {
  return readEnvironment(Configuration, environment);
}
