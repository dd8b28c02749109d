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
import { BatchingError, BatchingExceptionFilter } from 'nest-batching';
import { ApiError, type ErrorBody, errorBody } from './api-error.js';
import { rawRequest, rawResponse } from './raw.js';

/** Gives every error the same shape, wherever it was thrown, on Express and on Fastify. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  /** @param notFound what to answer where no route takes the request; default: what Nest answers */
  constructor(
    private readonly http: HttpServer,
    private readonly notFound?: (request: IncomingMessage, response: ServerResponse) => HttpException,
  ) {}

  catch(thrown: unknown, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<ServerResponse>();
    const raw = rawResponse(response);
    // An answer that has begun cannot become another one; and perhaps its client is gone.
    if (raw.destroyed || this.http.isHeadersSent(response)) {
      raw.destroy();
      return;
    }
    const error =
      thrown instanceof NotFoundException && this.notFound
        ? this.notFound(rawRequest(host.switchToHttp().getRequest()), raw)
        : withoutWrapping(thrown);
    const body = errorBodyOf(error);
    const retryAfter = error instanceof ApiError ? error.retryAfter : undefined;
    if (retryAfter !== undefined) raw.setHeader('Retry-After', String(retryAfter));
    this.http.reply(response, body, body.statusCode);
  }
}

/** What the caller learns of an error. One that no code expected is logged, and its caller learns nothing of it. */
export function errorBodyOf(error: unknown): ErrorBody {
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

/** What is thrown while a body is parsed comes wrapped. */
function withoutWrapping(error: unknown): unknown {
  return error instanceof HttpException && error.cause instanceof ApiError ? error.cause : error;
}
