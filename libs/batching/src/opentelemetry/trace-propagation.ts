import { context, propagation, ROOT_CONTEXT } from '@opentelemetry/api';

/**
 * Carries the trace context of a caller to the node that runs its input, with the application's propagator, which
 * writes `traceparent` by default. `BatchingTracingModule` does so by itself; an application without that module
 * gives it to `BatchingModule.forRoot({ trace })`.
 */
export const tracePropagation = {
  inject(): Record<string, string> | undefined {
    const carrier: Record<string, string> = {};
    propagation.inject(context.active(), carrier);
    return Object.keys(carrier).length > 0 ? carrier : undefined;
  },
  extract<T>(carrier: Readonly<Record<string, string>>, submit: () => T): T {
    return context.with(propagation.extract(ROOT_CONTEXT, carrier), submit);
  },
};
