import type { IncomingMessage, ServerResponse } from 'node:http';

/** Node's own request, which Express extends and Fastify wraps. */
export function rawRequest(request: IncomingMessage | { raw: IncomingMessage }): IncomingMessage {
  return 'raw' in request ? request.raw : request;
}

/** Node's own response, which Express extends and Fastify wraps. */
export function rawResponse(response: ServerResponse | { raw: ServerResponse }): ServerResponse {
  return 'raw' in response ? response.raw : response;
}

/**
 * Calls a listener once, when the client has its answer or has gone. An answer that waits behind others, of requests that were sent
 * without waiting, is never closed if its connection is: not even destroying it closes it.
 */
export function onceOver(response: ServerResponse, listener: () => void): void {
  const { socket } = response.req;
  const onClose = () => {
    socket.off('close', onClose);
    response.off('close', onClose);
    listener();
  };
  if (socket.destroyed || response.destroyed) {
    onClose();
    return;
  }
  socket.once('close', onClose);
  response.once('close', onClose);
}
