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
  /** What else there is to know. */
  details?: unknown;
}

/** An error that tells its caller what to do about it. */
export class ApiError extends HttpException {
  constructor(status: number, code: string, message: string, details?: unknown) {
    super(errorBody(status, message, code, details), status);
  }
}

export function errorBody(statusCode: number, message: string, code?: string, details?: unknown): ErrorBody {
  return { statusCode, error: STATUS_CODES[statusCode] ?? 'Error', message, code, details };
}
