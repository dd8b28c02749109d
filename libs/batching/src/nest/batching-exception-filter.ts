import { type ServerResponse, STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, Logger } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { throwError } from 'rxjs';
import { BatchingError, type ErrorKind } from '../core/errors.js';
import { RateLimitedLog } from './rate-limited-log.js';

/**
 * Answers the errors of queues and models by their `kind`. Over HTTP: 503 with `Retry-After` if the queue is
 * full, too slow for the input's timeout, or stopped, and if the model cannot run at the moment; 504 if a time
 * limit passed; 413 for an input, or a number of inputs, beyond a bound; 400 for an input that the model does
 * not accept; 404 for an input whose key has no result; 500 for a fault of the application.
 *
 * The body is `{ statusCode, error, message, code }`. Microservices and gateways send
 * `{ status: 'error', message, code }`, GraphQL an error with `extensions.code`. The message is the error's
 * `publicMessage`, which contains no settings.
 *
 * A 500 is logged as an error. The full message of the other errors, unless they are `stopped`, `input` or
 * `missing`, says what to tune, and is logged as a warning: at most one line per queue and code in 10 s.
 *
 * ```ts
 * providers: [{ provide: APP_FILTER, useClass: BatchingExceptionFilter }]
 * app.useGlobalFilters(new BatchingExceptionFilter()); // or this, or @UseFilters() on a class
 * ```
 */
@Catch(BatchingError)
export class BatchingExceptionFilter extends BaseExceptionFilter {
  // In the CommonJS build the name of the class has a number at its end.
  readonly #logger = new Logger('BatchingExceptionFilter');
  readonly #warnings = new RateLimitedLog(this.#logger);

  /** The HTTP answer to an error, for code that sends it itself, for example as the last event of a stream. */
  static answerTo(error: BatchingError): BatchingAnswer {
    return answerTo(error);
  }

  override catch(error: BatchingError, host: ArgumentsHost): unknown {
    const answer = answerTo(error);
    const { message } = answer;
    const { code } = error;
    this.#log(error, answer);
    switch (host.getType<string>()) {
      case 'http':
        this.#reply(host.getArgByIndex<PlainResponse>(1), answer, code);
        return undefined;
      case 'rpc':
        return throwError(() => ({ status: 'error', message, code }));
      case 'ws':
        emit(host.switchToWs().getClient<Client | undefined>(), { status: 'error', message, code });
        return undefined;
      default:
        // GraphQL formats thrown errors by their message and `extensions`.
        throw Object.assign(new Error(message), { code, extensions: { code } });
    }
  }

  #reply(response: PlainResponse, { statusCode, message, retryAfter }: BatchingAnswer, code: string): void {
    // A filter that was constructed by hand without an adapter has neither, as Nest injects nothing into it.
    const adapter = this.applicationRef ?? this.httpAdapterHost?.httpAdapter ?? plainAdapter;
    if (adapter.isHeadersSent(response)) {
      adapter.end(response);
      return;
    }
    if (retryAfter !== undefined) adapter.setHeader(response, 'Retry-After', String(retryAfter));
    adapter.reply(response, { statusCode, error: STATUS_CODES[statusCode], message, code }, statusCode);
  }

  /** Logs what the answer omits: the fault of the application, or how to tune it. */
  #log(error: BatchingError & { readonly queue?: string }, { statusCode }: BatchingAnswer): void {
    if (statusCode === 500) this.#logger.error(error);
    else if (ADVISED.has(error.kind)) {
      this.#warnings.warn(`${error.code} ${error.queue}`, `${error.name}: ${error.message}`);
    }
  }
}

/** Kinds whose message says what to change in the application. */
const ADVISED: ReadonlySet<ErrorKind> = new Set(['overload', 'unavailable', 'timeout', 'too-large']);

/** The members of a response of Express, Fastify or plain Node that are used here. */
interface PlainResponse extends Pick<ServerResponse, 'headersSent' | 'setHeader' | 'end' | 'statusCode'> {
  /** The response of Node that a reply of Fastify wraps. */
  readonly raw?: ServerResponse;
  /** In Express and Fastify. */
  status?(code: number): { send(body: unknown): unknown };
  /** In Fastify. */
  header?(name: string, value: string): unknown;
}

/** Replaces the HTTP adapter in a filter that has none. */
const plainAdapter = {
  isHeadersSent: (response: PlainResponse) => (response.raw ?? response).headersSent,
  end: (response: PlainResponse) => (response.raw ?? response).end(),
  setHeader: (response: PlainResponse, name: string, value: string) => {
    if (response.header) response.header(name, value);
    else response.setHeader(name, value);
  },
  reply: (response: PlainResponse, body: object, statusCode: number) => {
    if (response.status) {
      response.status(statusCode).send(body);
      return;
    }
    response.statusCode = statusCode;
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.end(JSON.stringify(body));
  },
};

interface Client {
  emit?(event: string, payload: unknown): unknown;
  send?(text: string): unknown;
  readonly readyState?: unknown;
}

/**
 * Sends an event to a client of Socket.IO, and the same as text to a WebSocket, whose `emit` does not send
 * anything.
 */
function emit(client: Client | undefined, data: object): void {
  const event = 'exception';
  if (typeof client?.readyState === 'number') client.send?.(JSON.stringify({ event, data }));
  else client?.emit?.(event, data);
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
