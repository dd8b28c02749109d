import { STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, HttpException, Logger } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError } from 'rxjs';
import { BatchingError, type ErrorKind } from '../core/errors.js';

/**
 * Answers the errors of queues and models by their `kind`. Over HTTP: 503 with `Retry-After` if the queue is full, too
 * slow for the input's timeout, or stopped, and if the model cannot run at the moment; 504 if a time limit passed; 413 for
 * an input, or a number of inputs, beyond a bound; 400 for an input that the model does not accept; 404 for an input whose key has no result; 500 for a fault of the
 * application. The body is `{ statusCode, error, message, code }`. Microservices and gateways send `{ status: 'error',
 * message, code }`. The message is the error's `publicMessage`, which contains no settings. A 500 is logged.
 *
 * ```ts
 * providers: [{ provide: APP_FILTER, useClass: BatchingExceptionFilter }]
 * ```
 */
@Catch(BatchingError)
export class BatchingExceptionFilter extends BaseExceptionFilter {
  /**
   * The HTTP answer to an error, for code that sends it itself, for example as the last event of a stream.
   */
  static answerTo(error: BatchingError): BatchingAnswer {
    return answerTo(error);
  }

  override catch(error: BatchingError, host: ArgumentsHost): unknown {
    const { statusCode, message, retryAfter } = answerTo(error);
    const { code } = error;
    if (statusCode === 500) new Logger(BatchingExceptionFilter.name).error(error);
    switch (host.getType<string>()) {
      case 'http': {
        if (retryAfter !== undefined) this.#setHeader(host, 'Retry-After', String(retryAfter));
        const body = { statusCode, error: STATUS_CODES[statusCode], message, code };
        super.catch(new HttpException(body, statusCode), host);
        return undefined;
      }
      case 'rpc':
        return throwError(() => ({ status: 'error', message, code }));
      case 'ws':
        return host.switchToWs().getClient<Emitter>().emit('exception', { status: 'error', message, code });
      default:
        // GraphQL and other transports format errors themselves.
        throw error;
    }
  }

  #setHeader(host: ArgumentsHost, name: string, value: string): void {
    const adapter = this.applicationRef ?? this.httpAdapterHost?.httpAdapter;
    const response: unknown = host.getArgByIndex(1);
    if (adapter && !adapter.isHeadersSent(response)) adapter.setHeader(response, name, value);
  }
}

interface Emitter {
  emit(event: string, payload: unknown): unknown;
}

/** The HTTP answer to a `BatchingError`. */
export interface BatchingAnswer {
  statusCode: number;
  message: string;
  /** Whole seconds after which to try again; `undefined` if trying again is of no use. */
  retryAfter?: number;
}

/** One row per kind. `retryAfter` and `message` are used if the error has none of its own. */
const ANSWERS: Readonly<Record<ErrorKind, BatchingAnswer>> = {
  overload: { statusCode: 503, message: 'Service unavailable', retryAfter: 1 },
  unavailable: { statusCode: 503, message: 'Service unavailable', retryAfter: 1 },
  stopped: { statusCode: 503, message: 'Service unavailable', retryAfter: 1 },
  timeout: { statusCode: 504, message: 'Gateway timeout' },
  'too-large': { statusCode: 413, message: 'Payload too large' },
  input: { statusCode: 400, message: 'Bad request' },
  missing: { statusCode: 404, message: 'Not found' },
  failure: { statusCode: 500, message: 'Internal server error' },
};

function answerTo(error: BatchingError & { readonly retryAfter?: number }): BatchingAnswer {
  const answer = Object.hasOwn(ANSWERS, error.kind) ? ANSWERS[error.kind] : ANSWERS.failure;
  if (answer === ANSWERS.failure) return answer;
  const { publicMessage: message = answer.message, retryAfter } = error;
  if (answer.retryAfter === undefined || retryAfter === undefined) return { ...answer, message };
  return { ...answer, message, retryAfter: wholeSeconds(retryAfter) };
}

function wholeSeconds(milliseconds: number): number {
  return Math.max(1, Math.ceil(milliseconds / 1000));
}
