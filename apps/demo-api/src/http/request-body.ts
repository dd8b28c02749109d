import type { IncomingMessage } from 'node:http';
import { ApiError } from './api-error.js';
import { clientGone } from './caller.js';

/** How bodies of one media type are read. */
export interface BodyType<T> {
  /** Most bytes. */
  limit: number;
  read: (bytes: Buffer) => T | Promise<T>;
}

/**
 * Reads a request's body as its Content-Type says; the parsers of Express and Fastify are off. So limits hold per route
 * and per type, answers are the same on both, and nothing is read for a route that wants no body.
 */
export async function readBody<T>(
  request: IncomingMessage,
  types: Readonly<Record<string, BodyType<T>>>,
): Promise<T> {
  const { limit, read } = bodyTypeOf(request, types);
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > limit) throw tooLarge(limit, announced);
  return read(await collect(request, limit));
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

function collect(request: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    // What comes after too much is read and forgotten: a client that still sends could not hear the answer.
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limit) chunks.push(chunk);
      else reject(tooLarge(limit));
    });
    request.once('end', () => {
      resolve(Buffer.concat(chunks));
    });
    request.once('error', () => {
      reject(clientGone());
    });
  });
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
