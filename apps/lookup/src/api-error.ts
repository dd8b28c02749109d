import { type ServerResponse, STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, HttpException } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { CheckError } from './check.js';

/** An error that tells its caller what was wrong: `{ statusCode, error, message, code }`, as the library's own do. */
export class ApiError extends HttpException {
  /** Seconds until it is worth to try again, for the header `Retry-After`. */
  readonly retryAfter: number | undefined;

  constructor(
    statusCode: number,
    code: string,
    message: string,
    { retryAfter, ...options }: ErrorOptions & { retryAfter?: number } = {},
  ) {
    super({ statusCode, error: STATUS_CODES[statusCode], message, code }, statusCode, options);
    this.retryAfter = retryAfter;
  }

  /** 503: the database could not do what was asked, and may be able to in a second. */
  static ofDatabase(message: string, cause: unknown): ApiError {
    return new ApiError(503, 'ERR_DATABASE', message, { cause, retryAfter: 1 });
  }
}

/** Gives errors of HTTP one shape, wherever they were thrown, and says when to try again. */
@Catch(HttpException)
export class HttpErrorFilter extends BaseExceptionFilter {
  override catch(error: HttpException, host: ArgumentsHost): void {
    // What is thrown while a body is parsed comes wrapped.
    const thrown = error.cause instanceof ApiError ? error.cause : error;
    if (thrown instanceof ApiError && thrown.retryAfter !== undefined) {
      const response = host.switchToHttp().getResponse<ServerResponse>();
      if (!response.headersSent) response.setHeader('Retry-After', thrown.retryAfter);
    }
    const statusCode = thrown.getStatus();
    const given = thrown.getResponse();
    const body =
      typeof given === 'string' ? { statusCode, error: STATUS_CODES[statusCode], message: given } : given;
    super.catch(new HttpException(body, statusCode), host);
  }
}

/** What a stranger sent is not what it has to be: 400, with what was expected and what came. */
@Catch(CheckError)
export class CheckErrorFilter extends BaseExceptionFilter {
  override catch({ message }: CheckError, host: ArgumentsHost): void {
    super.catch(new ApiError(400, 'ERR_INVALID', message), host);
  }
}
