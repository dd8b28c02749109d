import type { IncomingMessage, ServerResponse } from 'node:http';
import { BadRequestException } from '@nestjs/common';

/**
 * A middleware that refuses URLs whose percent-encoding is not UTF-8. The frameworks decode such queries
 * without an error, to a text that differs from the one that was sent.
 *
 * @throws {BadRequestException} with the code `ERR_INVALID`
 */
export function checkUrl({ url = '' }: IncomingMessage, _: ServerResponse, next: () => void): void {
  try {
    decodeURIComponent(url);
  } catch {
    const message = 'the URL: expected percent-encoded UTF-8, got something else';
    throw new BadRequestException({ statusCode: 400, error: 'Bad Request', message, code: 'ERR_INVALID' });
  }
  next();
}
