import { Integer, readEnvironment, toNumber } from '@app/serving';
import { LOG_LEVELS, type LogLevel } from '@nestjs/common';
import { Transform } from 'class-transformer';
import { IsIn, IsNumber, Matches, Max, Min, ValidateIf } from 'class-validator';
import type { Dispatch } from 'nest-batching';
import type { TfjsBackend } from 'nest-batching/tfjs';

/** Most images in one request, where the queue holds as many. */
export const MOST_IMAGES = 256;

/** The settings, each from the environment variable of its name, with its default. Times are milliseconds. See README.md. */
export class Configuration {
  @Integer(0, 65_535) readonly port: number = 3000;
  // Node reads the environment as UTF-8, and puts U+FFFD where it is not.
  @Matches(/^[^\p{Surrogate}\ufffd]*$/u, { message: 'a text in UTF-8' })
  readonly host: string = '127.0.0.1';
  @OneOf('express', 'fastify') readonly httpAdapter: 'express' | 'fastify' = 'express';
  /** `onnx` reads digits with ONNX Runtime; photos are then enlarged on the backend that `auto` takes. */
  @OneOf('auto', 'tensorflow', 'webgpu', 'wasm', 'cpu', 'onnx')
  readonly backend: TfjsBackend | 'auto' | 'onnx' = 'auto';
  @ValidateIf((_, value) => value !== 'auto')
  @Integer(1, 256, 'auto or an integer from 1 to 256', (text) => (text === 'auto' ? text : toNumber(text)))
  readonly workers: number | 'auto' = 'auto';
  /** Longest that an inference worker may be silent about a batch. */
  @Integer(100, 3_600_000) readonly heartbeat: number = 30_000;
  @Integer(1, 4096) readonly batchSize: number = 64;
  @Transform(({ value }) => toNumber(value))
  @IsNumber({}, { message: 'a number from 0 to 60000' })
  @Min(0, { message: 'a number from 0 to 60000' })
  @Max(60_000, { message: 'a number from 0 to 60000' })
  readonly maxDelay: number = 5;
  @OneOf('adaptive', 'eager', 'fixed') readonly dispatch: Dispatch = 'adaptive';
  /** 0: no limit. */
  @Integer(0, 1_000_000) readonly maxQueued: number = 10_000;
  /** Longest that a digit may take, from when it was received. 0: no limit. */
  @Integer(0, 3_600_000) readonly timeout: number = 10_000;
  @Integer(1, 64) readonly tileBatchSize: number = 4;
  @Integer(7056, 16_000_000) readonly maxPhotoPixels: number = 1_000_000;
  /** Most bytes of the bodies of all requests that are not answered yet. */
  @Integer(1, 1_000_000_000_000) readonly maxBodyBytes: number = 128_000_000;
  /** Longest that a body may take to arrive. */
  @Integer(1, 3_600_000) readonly bodyTimeout: number = 30_000;
  @Integer(1, 1_000_000) readonly maxConnections: number = 1000;
  /** Most requests of one connection in progress at once. */
  @Integer(1, 10_000) readonly maxPipelined: number = 16;
  /** Most live views at once. */
  @Integer(0, 1_000_000) readonly maxViewers: number = 100;
  /** Whether visitors of the dashboard may change the settings of queues. */
  @OneOf('off', 'on') readonly tune: 'off' | 'on' = 'off';
  /** Milliseconds below which 99 of 100 digits are to be read, for the metric `batching_replicas_needed`. */
  @Integer(1, 60_000) readonly sloP99: number = 200;
  @OneOf(...LOG_LEVELS) readonly logLevel: LogLevel = 'log';
  @OneOf('auto', 'text', 'json') readonly logFormat: 'auto' | 'text' | 'json' = 'auto';
  /** Longest from a signal until the process ends by it. */
  @Integer(0, 3_600_000) readonly shutdownTimeout: number = 10_000;
  /** How long the port stays open after a SIGTERM. */
  @Integer(0, 600_000) readonly shutdownDelay: number = 250;

  get logLevels(): LogLevel[] {
    return LOG_LEVELS.slice(LOG_LEVELS.indexOf(this.logLevel));
  }

  /** Milliseconds that a digit may take; `undefined`: any time. */
  get digitTimeout(): number | undefined {
    return this.timeout || undefined;
  }

  /** Most images in one request: no more than the queue of digits holds, or no such request could ever be answered. */
  get maxImages(): number {
    return Math.min(MOST_IMAGES, this.maxQueued || Infinity);
  }
}

/** @throws {EnvironmentError} that names every variable that is not what it may be */
export function readConfiguration(environment: NodeJS.ProcessEnv): Configuration {
  return readEnvironment(Configuration, environment);
}

function OneOf(...values: string[]): PropertyDecorator {
  return IsIn(values, { message: `one of ${values.join(', ')}` });
}
