import type { ServerResponse } from 'node:http';
import { ApiError, onceOver, rawRequest, rawResponse } from '@app/serving';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';

const signals = new WeakMap<ServerResponse, AbortSignal>();

/** Aborts when the caller goes away before it has its answer, so that its input, if it still waits, is never computed. */
export const CallerSignal = createParamDecorator((_: unknown, context: ExecutionContext) =>
  signalOf(context),
);

/** Whether the client wants server-sent events. With `@Headers()` it would be documented as a parameter. */
export const WantsEvents = createParamDecorator((_: unknown, context: ExecutionContext) => {
  const { headers } = rawRequest(context.switchToHttp().getRequest());
  return headers.accept?.includes('text/event-stream') ?? false;
});

/** Node's own response. */
export const RawResponse = createParamDecorator((_: unknown, context: ExecutionContext) =>
  rawResponse(context.switchToHttp().getResponse<ServerResponse>()),
);

export function signalOf(context: ExecutionContext): AbortSignal {
  const response = rawResponse(context.switchToHttp().getResponse<ServerResponse>());
  const known = signals.get(response);
  if (known) return known;
  const controller = new AbortController();
  onceOver(response, () => {
    if (response.writableFinished) return;
    controller.abort(new ApiError(499, 'ERR_CLIENT_GONE', 'the client closed the connection'));
  });
  signals.set(response, controller.signal);
  return controller.signal;
}
