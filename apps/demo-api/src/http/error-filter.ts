import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type ArgumentsHost,
  Catch,
  type ExceptionFilter,
  HttpException,
  type HttpServer,
  Logger,
  NotFoundException,
} from '@nestjs/common';
import type { OpenAPIObject } from '@nestjs/swagger';
import { BatchingError, BatchingExceptionFilter } from 'nest-batching';
import { SchemaError } from '../json-schema.js';
import { PictureError, type PictureErrorCode } from '../picture-file.js';
import { type ErrorBody, errorBody } from './api-error.js';
import { rawRequest, rawResponse } from './caller.js';

const pictureStatus: Record<PictureErrorCode, number> = {
  ERR_PICTURE_EMPTY: 400,
  ERR_PICTURE_TOO_LARGE: 413,
  ERR_PICTURE_FORMAT: 422,
  ERR_PICTURE_SCANS: 422,
  ERR_PICTURE_TOO_SLOW: 422,
  ERR_PICTURE_BROKEN: 422,
  ERR_PICTURE_BLANK: 422,
};

/** Gives every error the same shape, wherever it was thrown. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  constructor(
    private readonly http: HttpServer,
    private readonly paths: OpenAPIObject['paths'],
  ) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<ServerResponse>();
    const raw = rawResponse(response);
    const body =
      error instanceof NotFoundException
        ? this.#notFound(rawRequest(host.switchToHttp().getRequest()), raw)
        : errorBodyOf(error);
    // An answer that has begun cannot become another one; and perhaps nobody is there to hear any.
    if (raw.destroyed || this.http.isHeadersSent(response)) raw.destroy();
    else {
      if (body.statusCode === 503) raw.setHeader('Retry-After', '1');
      this.http.reply(response, body, body.statusCode);
    }
  }

  /** Nest takes another method on a known path for an unknown path. */
  #notFound({ method = '', url = '' }: IncomingMessage, response: ServerResponse): ErrorBody {
    const [path = ''] = url.split('?', 1);
    const methods = Object.keys(this.paths[path] ?? {}).map((name) => name.toUpperCase());
    if (methods.length === 0) {
      return errorBody(404, `There is no ${path} here; /docs lists what there is.`, 'ERR_NO_SUCH_ROUTE');
    }
    response.setHeader('Allow', methods.join(', '));
    return errorBody(405, `${path} takes ${methods.join(' or ')}, not ${method}.`, 'ERR_METHOD', {
      allowed: methods,
    });
  }
}

/** What an error says to whoever asked. Those that nobody meant are logged, and say nothing of their own. */
export function errorBodyOf(error: unknown): ErrorBody {
  if (error instanceof SchemaError) {
    return errorBody(400, error.message, 'ERR_INVALID', error.problems);
  }
  if (error instanceof PictureError) {
    return errorBody(pictureStatus[error.code], error.message, error.code, error.details);
  }
  if (error instanceof HttpException) {
    const body = error.getResponse();
    return { ...errorBody(error.getStatus(), error.message), ...(typeof body === 'object' ? body : {}) };
  }
  if (error instanceof BatchingError) {
    const { statusCode, message } = BatchingExceptionFilter.answerTo(error);
    if (statusCode === 500) new Logger(ErrorFilter.name).error(error);
    return errorBody(statusCode, message, error.code);
  }
  new Logger(ErrorFilter.name).error(error);
  return errorBody(
    500,
    'Something went wrong here, not with the request. It has been logged.',
    'ERR_INTERNAL',
  );
}
