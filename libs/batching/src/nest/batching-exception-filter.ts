import { STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, HttpException, Logger } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError } from 'rxjs';
import {
  BatchingError,
  BatchTimeoutError,
  DeadlineError,
  InputCostError,
  QueueFullError,
  ServiceStoppedError,
  TooManyInputsError,
} from '../core/errors.js';

/**
 * Answers the errors of queues and models. Over HTTP: 503 with `Retry-After` when the queue is full, too slow for the input's
 * timeout, or stopped, and while an inference worker is started again; 504 when an input timed out; 413 when it costs more
 * than a batch may, or when more inputs come at once than the queue holds; 400 when it is not what the model takes; 500 when the batch function broke its promise; the body is
 * `{ statusCode, error, message, code }`.
 * Microservices and gateways send `{ status: 'error', message, code }`. Nobody outside learns more than the name of
 * the queue; a 500 is logged.
 *
 * ```ts
 * providers: [{ provide: APP_FILTER, useClass: BatchingExceptionFilter }]
 * ```
 */
@Catch(BatchingError)
export class BatchingExceptionFilter extends BaseExceptionFilter {
  /** What it answers over HTTP, for whoever answers in another way: with the last event of a stream, say. */
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
        // GraphQL and others have their own way with errors.
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

export interface BatchingAnswer {
  statusCode: number;
  message: string;
  /** When to try again, in seconds. */
  retryAfter?: number;
}

function answerTo(error: BatchingError): BatchingAnswer {
  if (error instanceof QueueFullError) {
    return { statusCode: 503, message: `${error.queue} is full`, retryAfter: wholeSeconds(error.retryAfter) };
  }
  if (error instanceof DeadlineError) {
    const message = `${error.queue} would take longer than the time allowed`;
    return { statusCode: 503, message, retryAfter: wholeSeconds(error.retryAfter) };
  }
  if (error instanceof InputCostError) {
    return {
      statusCode: 413,
      message: `the input costs ${error.cost}, and at most ${error.maxCost} is allowed`,
    };
  }
  if (error instanceof TooManyInputsError) {
    return {
      statusCode: 413,
      message: `${error.queue} takes at most ${error.maxQueued} inputs at once, not ${error.count}`,
    };
  }
  if (error instanceof ServiceStoppedError) {
    return { statusCode: 503, message: `${error.queue} was stopped`, retryAfter: 1 };
  }
  if (error instanceof BatchTimeoutError) {
    return { statusCode: 504, message: `${error.queue} gave no result in time` };
  }
  // By their codes, as nobody who wants only the queue loads TensorFlow.js.
  if (error.code === 'ERR_BATCHING_INPUT') {
    return { statusCode: 400, message: error.message };
  }
  if (error.code === 'ERR_BATCHING_WORKER') {
    return { statusCode: 503, message: 'the inference worker is being started again', retryAfter: 1 };
  }
  if (error.code === 'ERR_BATCHING_MODEL_NOT_READY') {
    const { model } = error as BatchingError & { model: string };
    return { statusCode: 503, message: `model '${model}' is not ready`, retryAfter: 1 };
  }
  return { statusCode: 500, message: 'Internal server error' };
}

function wholeSeconds(milliseconds: number): number {
  return Math.max(1, Math.ceil(milliseconds / 1000));
}
