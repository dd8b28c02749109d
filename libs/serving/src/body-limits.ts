import type { IncomingMessage, ServerResponse } from 'node:http';
import type { INestApplication } from '@nestjs/common';
import { ApiError } from './api-error.js';
import { onceOver } from './raw.js';

export interface BodyLimits {
  /**
   * Most bytes of this request's body, `undefined` where it has none.
   *
   * @throws {HttpException} for a body that is not taken
   */
  limitOf: (request: IncomingMessage) => number | undefined;
  /** Most bytes of the bodies of all requests that are not answered yet. One alone is always read. */
  total: number;
  /** Longest that a body may take to arrive, in milliseconds. */
  time: number;
}

/** Pieces of a refused body that are read and dropped, whatever their size, so that its client sees the answer. */
const MOST_PIECES = 1000;

/**
 * A middleware in front of the body parsers, which alone have no bound in time or for all bodies together: Express' reads
 * a refused body to its end before it answers, which may never come, and Fastify's closes the connection. Both keep each
 * piece, and one of a single byte takes a hundred times its size. So a body is refused here with 408, 413 or 503, in the
 * shape of every error, or reaches its parser in one piece.
 */
export function limitBodies(app: INestApplication, { limitOf, total, time }: BodyLimits): void {
  let held = 0;

  app.use((request: IncomingMessage, response: ServerResponse, next: () => void) => {
    const limit = limitOf(request);
    if (limit === undefined) {
      next();
      return;
    }
    const announced = Number(request.headers['content-length'] ?? 0);
    // What has arrived while the request had to wait for its turn.
    let size = request.readableLength;
    if (announced > limit) throw tooLarge(limit, announced);
    if (size > limit) throw tooLarge(limit);
    held += size;
    const release = () => {
      clearTimeout(timer);
      held -= size;
      size = 0;
    };
    const timer = setTimeout(() => {
      refuse(tooSlow(time));
    }, time);
    onceOver(response, release);

    let bytes: Buffer = Buffer.alloc(0);
    let length = 0;
    let dropped: number | undefined;
    const refuse = (error: ApiError) => {
      dropped = 0;
      bytes = Buffer.alloc(0);
      release();
      answer(response, error);
    };
    const push = request.push.bind(request);
    /** Called by Node with each piece, and at the end with null. After false, nothing more is read from the connection. */
    request.push = (piece: Buffer | null) => {
      if (dropped !== undefined) return ++dropped < MOST_PIECES;
      if (piece === null) {
        clearTimeout(timer);
        if (length > 0) push(bytes.subarray(0, length));
        return push(null);
      }
      if (size + piece.length > limit) {
        refuse(tooLarge(limit));
      } else if (held > size && held + piece.length > total) {
        refuse(tooManyBytes(total));
      } else {
        if (length + piece.length > bytes.length) bytes = larger(bytes, length + piece.length, limit);
        piece.copy(bytes, length);
        length += piece.length;
        size += piece.length;
        held += piece.length;
      }
      return true;
    };
    if (request.complete) clearTimeout(timer);
    next();
  });
}

/** A buffer with the same beginning, of at least so many bytes: twice as large, so that each byte is copied once or twice. */
function larger(bytes: Buffer, size: number, limit: number): Buffer {
  const grown = Buffer.allocUnsafeSlow(Math.max(size, Math.min(limit, Math.max(2 * bytes.length, 4096))));
  bytes.copy(grown);
  return grown;
}

function answer(response: ServerResponse, error: ApiError): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = error.getStatus();
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  if (error.retryAfter !== undefined) response.setHeader('Retry-After', error.retryAfter);
  response.end(JSON.stringify(error.getResponse()));
}

function tooLarge(limit: number, size?: number): ApiError {
  const message = `expected a body of at most ${limit} bytes, got ${size ?? 'more'}`;
  return new ApiError(413, 'ERR_BODY_TOO_LARGE', message, { details: { limit } });
}

function tooManyBytes(limit: number): ApiError {
  const message = `bodies of other requests have ${limit} bytes together, as many as this server holds`;
  return new ApiError(503, 'ERR_BODIES_FULL', message, { details: { limit } });
}

function tooSlow(limit: number): ApiError {
  const message = `expected the whole body within ${limit} ms`;
  return new ApiError(408, 'ERR_BODY_TIMEOUT', message, { details: { limit } });
}
