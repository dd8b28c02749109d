import type { IncomingMessage, ServerResponse } from 'node:http';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { ApiError } from './api-error.js';

/** A request and its answer, as Node has them, and whether anybody still waits. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborts when the caller goes away before it has its answer, so that its input, if it still waits, is never computed. */
  readonly signal: AbortSignal;
}

export const HttpExchange = createParamDecorator((_: unknown, context: ExecutionContext): Exchange => {
  const request = rawRequest(context.switchToHttp().getRequest());
  const response = rawResponse(context.switchToHttp().getResponse());
  const { socket } = request;
  const controller = new AbortController();
  const onClose = () => {
    socket.off('close', onClose);
    if (!response.writableFinished) controller.abort(clientGone());
  };
  response.once('close', onClose);
  // An answer that waits behind others, of requests sent without waiting, is not closed with its connection.
  socket.once('close', onClose);
  return { request, response, signal: controller.signal };
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
