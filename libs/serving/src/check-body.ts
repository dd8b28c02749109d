import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ApiError } from './api-error.js';

/**
 * For the parser of JSON, which reads every body, whatever its type: one that is empty may have any. The type is more than
 * a form: a page of another site may post any text here, but not with this type.
 */
export function checkBody(
  { headers }: IncomingMessage,
  _: ServerResponse,
  body: Buffer,
  encoding: string,
): void {
  if (body.length === 0) return;
  const mediaType = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (mediaType !== 'application/json') {
    const message = `expected a body with Content-Type application/json, got ${mediaType === '' ? 'none' : mediaType}`;
    throw new ApiError(415, 'ERR_BODY_TYPE', message);
  }
  if (encoding === 'utf-8' && !isUtf8(body)) {
    throw new ApiError(400, 'ERR_INVALID', 'the body: expected UTF-8, got something else');
  }
}
