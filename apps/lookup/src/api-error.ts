import { STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, HttpException } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { CheckError } from './check.js';

/** An error that tells its caller what was wrong: `{ statusCode, error, message, code }`, as the library's own do. */
export class ApiError extends HttpException {
  constructor(statusCode: number, code: string, message: string, options?: ErrorOptions) {
    super({ statusCode, error: STATUS_CODES[statusCode], message, code }, statusCode, options);
  }
}

/** What a stranger sent is not what it has to be: 400, with what was expected and what came. */
@Catch(CheckError)
export class CheckErrorFilter extends BaseExceptionFilter {
  override catch({ message }: CheckError, host: ArgumentsHost): void {
    super.catch(new ApiError(400, 'ERR_INVALID', message), host);
  }
}
