import type { IncomingMessage, ServerResponse } from 'node:http';
import { BadRequestException } from '@nestjs/common';

/**
 * A middleware that refuses paths and queries whose percent signs do not stand for UTF-8. The frameworks' own decoders are
 * lenient with queries, and would give the application another text than was sent.
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
