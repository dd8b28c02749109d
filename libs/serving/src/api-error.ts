import { STATUS_CODES } from 'node:http';
import { HttpException } from '@nestjs/common';

/** What every answer with a status of 400 or above looks like. */
export interface ErrorBody {
  statusCode: number;
  /** The name of the status. */
  error: string;
  /** What was expected and what came, for people. */
  message: string;
  /** What it was, for programs. Stays the same from version to version. */
  code?: string;
  /** What else there is to know, for programs. */
  details?: unknown;
}

export interface ApiErrorOptions extends ErrorOptions {
  details?: unknown;
  /** Seconds until it is worth trying again, for the header `Retry-After`. Default 1 where the status is 503. */
  retryAfter?: number;
}

/** An error that tells its caller what to do about it: one of Nest's, with a code. */
export class ApiError extends HttpException {
  readonly details: unknown;
  readonly retryAfter: number | undefined;

  constructor(
    status: number,
    readonly code: string,
    message: string,
    { details, retryAfter, ...options }: ApiErrorOptions = {},
  ) {
    super(errorBody(status, message, code, details), status, options);
    this.details = details;
    this.retryAfter = retryAfter ?? (status === 503 ? 1 : undefined);
  }
}

export function errorBody(statusCode: number, message: string, code?: string, details?: unknown): ErrorBody {
  return { statusCode, error: STATUS_CODES[statusCode] ?? 'Error', message, code, details };
}
