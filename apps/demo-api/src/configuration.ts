import { LOG_LEVELS, type LogLevel } from '@nestjs/common';
import type { Dispatch } from 'nest-batching';
import type { TfjsBackend } from 'nest-batching/tfjs';
import { CheckedSchema, UTF8 } from './json-schema.js';

/** Every variable that is read, what it may be, and what it is when it is not set or empty. See README.md. */
export const variables = {
  PORT: { type: 'integer', minimum: 0, maximum: 65_535, default: 3000 },
  HOST: { type: 'string', pattern: UTF8, default: '127.0.0.1' },
  HTTP_ADAPTER: { type: 'string', enum: ['express', 'fastify'], default: 'express' },
  BACKEND: { type: 'string', enum: ['auto', 'tensorflow', 'webgpu', 'wasm', 'cpu'], default: 'auto' },
  HEARTBEAT: { type: 'integer', minimum: 100, maximum: 3_600_000, default: 30_000 },
  BATCH_SIZE: { type: 'integer', minimum: 1, maximum: 4096, default: 64 },
  MAX_DELAY: { type: 'number', minimum: 0, maximum: 60_000, default: 5 },
  // The network is so fast that waiting hardly pays; but a batch also spares the server's thread a message, and shows.
  DISPATCH: { type: 'string', enum: ['adaptive', 'eager', 'fixed'], default: 'fixed' },
  MAX_QUEUED: { type: 'integer', minimum: 0, maximum: 1_000_000, default: 10_000 },
  TILE_BATCH_SIZE: { type: 'integer', minimum: 1, maximum: 64, default: 4 },
  MAX_PHOTO_PIXELS: { type: 'integer', minimum: 7056, maximum: 16_000_000, default: 1_000_000 },
  MAX_BODY_BYTES: { type: 'integer', minimum: 1, maximum: 1_000_000_000_000, default: 128_000_000 },
  BODY_TIMEOUT: { type: 'integer', minimum: 1, maximum: 3_600_000, default: 30_000 },
  MAX_CONNECTIONS: { type: 'integer', minimum: 1, maximum: 1_000_000, default: 1000 },
  MAX_PIPELINED: { type: 'integer', minimum: 1, maximum: 10_000, default: 16 },
  MAX_VIEWERS: { type: 'integer', minimum: 0, maximum: 1_000_000, default: 100 },
  LOG_LEVEL: { type: 'string', enum: [...LOG_LEVELS], default: 'log' },
  LOG_FORMAT: { type: 'string', enum: ['auto', 'text', 'json'], default: 'auto' },
  SHUTDOWN_TIMEOUT: { type: 'integer', minimum: 0, maximum: 3_600_000, default: 10_000 },
  SHUTDOWN_DELAY: { type: 'integer', minimum: 0, maximum: 600_000, default: 250 },
};

/** Most images in one request, where the queue holds as many. */
export const MOST_IMAGES = 256;

/** The settings of the application. Times are milliseconds. */
export class Configuration {
  readonly port: number;
  readonly host: string;
  readonly httpAdapter: 'express' | 'fastify';
  readonly backend: TfjsBackend | 'auto';
  /** Longest that the inference worker may be silent about a batch. */
  readonly heartbeat: number;
  readonly batchSize: number;
  readonly maxDelay: number;
  readonly dispatch: Dispatch;
  /** 0: no limit. */
  readonly maxQueued: number;
  /** Most images in one request: no more than the queue of digits holds, or no such request could ever be answered. */
  readonly maxImages: number;
  readonly tileBatchSize: number;
  readonly maxPhotoPixels: number;
  /** Most bytes of the bodies of all requests that are not answered yet. */
  readonly maxBodyBytes: number;
  /** Longest that a body may take to arrive. */
  readonly bodyTimeout: number;
  readonly maxConnections: number;
  /** Most requests of one connection in progress at once. */
  readonly maxPipelined: number;
  /** Most live views at once. */
  readonly maxViewers: number;
  readonly logLevels: LogLevel[];
  readonly logFormat: 'auto' | 'text' | 'json';
  /** Longest from a signal until the process ends by it. */
  readonly shutdownTimeout: number;
  /** How long the port stays open after a SIGTERM. */
  readonly shutdownDelay: number;

  /** @throws {SchemaError} that names every variable that is not what it may be */
  constructor(environment: NodeJS.ProcessEnv) {
    const given = environmentSchema.checkTexts(
      Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== '')),
    );
    this.port = given.PORT;
    this.host = given.HOST;
    this.httpAdapter = given.HTTP_ADAPTER;
    this.backend = given.BACKEND;
    this.heartbeat = given.HEARTBEAT;
    this.batchSize = given.BATCH_SIZE;
    this.maxDelay = given.MAX_DELAY;
    this.dispatch = given.DISPATCH;
    this.maxQueued = given.MAX_QUEUED;
    this.maxImages = Math.min(MOST_IMAGES, this.maxQueued || Infinity);
    this.tileBatchSize = given.TILE_BATCH_SIZE;
    this.maxPhotoPixels = given.MAX_PHOTO_PIXELS;
    this.maxBodyBytes = given.MAX_BODY_BYTES;
    this.bodyTimeout = given.BODY_TIMEOUT;
    this.maxConnections = given.MAX_CONNECTIONS;
    this.maxPipelined = given.MAX_PIPELINED;
    this.maxViewers = given.MAX_VIEWERS;
    this.logLevels = LOG_LEVELS.slice(LOG_LEVELS.indexOf(given.LOG_LEVEL));
    this.logFormat = given.LOG_FORMAT;
    this.shutdownTimeout = given.SHUTDOWN_TIMEOUT;
    this.shutdownDelay = given.SHUTDOWN_DELAY;
  }
}

const environmentSchema = new CheckedSchema<{
  PORT: number;
  HOST: string;
  HTTP_ADAPTER: 'express' | 'fastify';
  BACKEND: TfjsBackend | 'auto';
  HEARTBEAT: number;
  BATCH_SIZE: number;
  MAX_DELAY: number;
  DISPATCH: Dispatch;
  MAX_QUEUED: number;
  TILE_BATCH_SIZE: number;
  MAX_PHOTO_PIXELS: number;
  MAX_BODY_BYTES: number;
  BODY_TIMEOUT: number;
  MAX_CONNECTIONS: number;
  MAX_PIPELINED: number;
  MAX_VIEWERS: number;
  LOG_LEVEL: LogLevel;
  LOG_FORMAT: 'auto' | 'text' | 'json';
  SHUTDOWN_TIMEOUT: number;
  SHUTDOWN_DELAY: number;
}>({ type: 'object', properties: variables }, 'environment', {
  allErrors: true,
  useDefaults: true,
});
