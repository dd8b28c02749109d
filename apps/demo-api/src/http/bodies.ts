import type { IncomingMessage } from 'node:http';
import { ApiError, rawRequest } from '@app/serving';
import { createParamDecorator, type ExecutionContext, NotFoundException } from '@nestjs/common';
import type { Configuration } from '../configuration.js';
import { signalOf } from './caller.js';

/** A body that has arrived. */
export interface Upload {
  /** Its media type, in small letters. */
  readonly type: string;
  readonly bytes: Buffer;
  /** Aborts when its client goes away. */
  readonly signal: AbortSignal;
}

/** In place of `@Body()`, which does not say of which type a body is. */
export const UploadedBody = createParamDecorator((_: unknown, context: ExecutionContext): Upload => {
  const request = context.switchToHttp().getRequest<IncomingMessage & { body?: Buffer }>();
  return {
    type: mediaTypeOf(rawRequest(request)),
    bytes: request.body ?? Buffer.alloc(0),
    signal: signalOf(context),
  };
});

export const PICTURE_TYPES = ['image/png', 'image/jpeg', 'image/webp', 'image/gif'];
/** Of a body that is the pixels themselves. */
export const BYTES_TYPE = 'application/octet-stream';

/**
 * For `limitBodies`: most bytes of a request's body by its route and media type, which body
 * parsers do not tell apart. A body that no route takes is not read at all.
 */
export function bodyLimits({
  maxPhotoPixels,
}: Configuration): (request: IncomingMessage) => number | undefined {
  const pictures = (limit: number) => Object.fromEntries(PICTURE_TYPES.map((type) => [type, limit]));
  const routes: Record<string, Record<string, number>> = {
    // 784 numbers of three figures, each with a comma and a space, have 4 KB; pretty-printed JSON has four times that. A
    // phone's photograph has 2 to 5 MB.
    'POST /digits': { 'application/json': 32_000, [BYTES_TYPE]: 32_000, ...pictures(8_000_000) },
    // 256 times 4 KB, and some room. Bytes need a seventh of that; with the same limit, too many pictures are refused by
    // their number, in both forms.
    'POST /digits/many': { 'application/json': 1_500_000, [BYTES_TYPE]: 1_500_000 },
    // No PNG has more: 16 bits for each of four channels, and some room for what is beside the pixels.
    'POST /photos/upscale': pictures(8 * maxPhotoPixels + 1_000_000),
    // Settings of a queue, from the dashboard.
    'POST /batching/settings': { 'application/json': 4000 },
  };
  return (request) => {
    const { method, headers } = request;
    if (method === 'GET' || method === 'HEAD') return undefined;
    const route = routeOf(request);
    const limits = Object.hasOwn(routes, route) ? routes[route] : undefined;
    if (limits) return limitFor(request, limits);
    if (headers['transfer-encoding'] || Number(headers['content-length'] ?? 0)) throw new NotFoundException();
    return undefined;
  };
}

/** Method and path of a request, as the routers compare them: `POST /digits`. */
export function routeOf({ method = '', url = '' }: IncomingMessage): string {
  const [path = ''] = url.split('?', 1);
  return `${method} ${path.toLowerCase().replace(/(?<=.)\/$/, '')}`;
}

function limitFor(request: IncomingMessage, limits: Readonly<Record<string, number>>): number {
  const type = mediaTypeOf(request);
  const encoding = request.headers['content-encoding']?.toLowerCase() ?? 'identity';
  const limit = Object.hasOwn(limits, type) ? limits[type] : undefined;
  if (limit !== undefined && encoding === 'identity') return limit;
  const accepted = Object.keys(limits);
  const received = encoding === 'identity' ? type || 'none' : `${type} with Content-Encoding ${encoding}`;
  throw new ApiError(
    415,
    'ERR_BODY_TYPE',
    `expected a body with Content-Type ${accepted.join(', ')}, uncompressed; got ${received}`,
    { details: { accepted } },
  );
}

function mediaTypeOf({ headers }: IncomingMessage): string {
  return headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? '';
}
