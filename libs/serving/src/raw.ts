import type { IncomingMessage, ServerResponse } from 'node:http';

/** Node's own request, which Express extends and Fastify wraps. */
export function rawRequest(request: IncomingMessage | { raw: IncomingMessage }): IncomingMessage {
  return 'raw' in request ? request.raw : request;
}

/** Node's own response, which Express extends and Fastify wraps. */
export function rawResponse(response: ServerResponse | { raw: ServerResponse }): ServerResponse {
  return 'raw' in response ? response.raw : response;
}
