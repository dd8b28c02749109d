import type { IncomingMessage, ServerResponse } from 'node:http';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { ApiError } from './api-error.js';

/** Aborts when the caller goes away before it has its answer, so that its input, if it still waits, is never computed. */
export const CallerSignal = createParamDecorator((_: unknown, context: ExecutionContext): AbortSignal => {
  const response = rawResponse(context.switchToHttp().getResponse());
  const controller = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) {
      controller.abort(clientGone());
    }
  });
  return controller.signal;
});

/** What ends the handling of a request that nobody waits for any more. */
export function clientGone(): ApiError {
  return new ApiError(499, 'ERR_CLIENT_GONE', 'the client closed the connection');
}

/** Node's own request, which Express extends and Fastify wraps. */
export function rawRequest(request: IncomingMessage | { raw: IncomingMessage }): IncomingMessage {
  return 'raw' in request ? request.raw : request;
}

/** Node's own response, which Express extends and Fastify wraps. */
export function rawResponse(response: ServerResponse | { raw: ServerResponse }): ServerResponse {
  return 'raw' in response ? response.raw : response;
}
