import type { IncomingMessage } from 'node:http';
import { Injectable } from '@nestjs/common';
import { Configuration } from '../configuration.js';
import { ApiError } from './api-error.js';
import { clientGone, type Exchange } from './caller.js';

/** How bodies of one media type are read. */
export interface BodyType<T> {
  /** Most bytes. */
  limit: number;
  /** @param signal aborts when the caller has gone */
  read: (bytes: Buffer, signal: AbortSignal) => T | Promise<T>;
}

/** Pieces of a refused body that are read and forgotten, so that its sender sees the answer; whatever their size. */
const MOST_PIECES = 1000;

/**
 * Reads a request's body as its Content-Type says; the parsers of Express and Fastify are off. So limits hold per route
 * and per type, answers are the same on both, and nothing is read for a route that wants no body.
 */
@Injectable()
export class RequestBodies {
  /** Bytes of all bodies whose requests are not answered yet. */
  #held = 0;

  constructor(private readonly configuration: Configuration) {}

  /** @throws {ApiError} 400, 408, 413, 415 or 503 for a body that is not taken */
  async read<T>(exchange: Exchange, types: Readonly<Record<string, BodyType<T>>>): Promise<T> {
    exchange.signal.throwIfAborted();
    const { limit, read } = bodyTypeOf(exchange.request, types);
    const announced = Number(exchange.request.headers['content-length'] ?? 0);
    if (announced > limit) throw tooLarge(limit, announced);
    return read(await this.#collect(exchange, limit), exchange.signal);
  }

  #collect({ request, response, signal }: Exchange, limit: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const { maxBodyBytes, bodyTimeout } = this.configuration;
      let bytes: Buffer = Buffer.alloc(0);
      let size = 0;
      let rest: number | undefined;
      const onData = (chunk: Buffer) => {
        if (rest !== undefined) {
          // Then the connection has to wait until it is closed: see `limitServer`.
          if (++rest === MOST_PIECES) request.pause();
        } else if (size + chunk.length > limit) {
          refuse(tooLarge(limit));
        } else if (this.#held > size && this.#held + chunk.length > maxBodyBytes) {
          refuse(tooManyBytes(maxBodyBytes));
        } else {
          // Copied: a list of pieces of one byte each would take a hundred times as much memory.
          if (size + chunk.length > bytes.length) bytes = larger(bytes, size + chunk.length, limit);
          chunk.copy(bytes, size);
          size += chunk.length;
          this.#held += chunk.length;
        }
      };
      const release = () => {
        this.#held -= size;
        size = 0;
      };
      const refuse = (error: ApiError) => {
        rest = 0;
        bytes = Buffer.alloc(0);
        release();
        clearTimeout(timer);
        reject(error);
      };
      const timer = setTimeout(() => {
        refuse(tooSlow(bodyTimeout));
      }, bodyTimeout);
      response.once('close', release);
      signal.addEventListener('abort', () => {
        refuse(clientGone());
      });
      request.on('data', onData);
      request.once('end', () => {
        clearTimeout(timer);
        resolve(bytes.subarray(0, size));
      });
    });
  }
}

/**
 * JSON in UTF-8, and nothing in it that UTF-8 cannot hold: an escape may be half a surrogate pair.
 *
 * @throws {ApiError} that says what is wrong with it
 */
export function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) throw new ApiError(400, 'ERR_BODY_EMPTY', 'expected JSON, got an empty body');
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    // Most bodies have no such escape, and are not gone through once more.
    return JSON.parse(text, /\\u[dD][89a-fA-F]/.test(text) ? checkText : undefined);
  } catch (error) {
    throw new ApiError(400, 'ERR_BODY_NOT_JSON', `the body is not JSON: ${(error as Error).message}`);
  }
}

function checkText(name: string, value: unknown): unknown {
  for (const text of [name, value]) {
    if (typeof text === 'string' && /\p{Surrogate}/u.test(text)) throw new Error('half a surrogate pair');
  }
  return value;
}

function bodyTypeOf<T>(
  { headers }: IncomingMessage,
  types: Readonly<Record<string, BodyType<T>>>,
): BodyType<T> {
  const mediaType = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  const encoding = headers['content-encoding']?.toLowerCase() ?? 'identity';
  const type = Object.hasOwn(types, mediaType) ? types[mediaType] : undefined;
  if (type && encoding === 'identity') return type;
  const accepted = Object.keys(types);
  const received =
    encoding === 'identity' ? mediaType || 'none' : `${mediaType} with Content-Encoding ${encoding}`;
  throw new ApiError(
    415,
    'ERR_BODY_TYPE',
    `expected a body with Content-Type ${accepted.join(', ')}, uncompressed; got ${received}`,
    { accepted },
  );
}

/** A buffer with the same beginning, of at least so many bytes: twice as large, so that each byte is copied once or twice. */
function larger(bytes: Buffer, size: number, limit: number): Buffer {
  const grown = Buffer.allocUnsafeSlow(Math.max(size, Math.min(limit, Math.max(2 * bytes.length, 4096))));
  bytes.copy(grown);
  return grown;
}

function tooLarge(limit: number, size?: number): ApiError {
  const received = size === undefined ? 'more' : `${size}`;
  return new ApiError(
    413,
    'ERR_BODY_TOO_LARGE',
    `expected a body of at most ${limit} bytes, got ${received}`,
    {
      limit,
    },
  );
}

function tooManyBytes(limit: number): ApiError {
  return new ApiError(
    503,
    'ERR_BODIES_FULL',
    `bodies of other requests have ${limit} bytes together, as many as this server holds`,
    { limit },
  );
}

function tooSlow(limit: number): ApiError {
  return new ApiError(408, 'ERR_BODY_TIMEOUT', `expected the whole body within ${limit} ms`, { limit });
}
