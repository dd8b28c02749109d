import {
  type Attributes,
  context,
  type Context,
  isSpanContextValid,
  type Link,
  ROOT_CONTEXT,
  type Span,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import { showThrown } from '../core/checks.js';
import type { BatchEvent, InputEvent } from '../core/events.js';
import type { EventListeners } from './batch-events.js';

/** An input whose caller has a span. */
interface TracedInput {
  /** The context of its caller. */
  readonly caller: Context;
  readonly link: Link;
  readonly wait: Span;
  run: Span | undefined;
}

/**
 * Makes the spans of batches. A batch has many callers and no parent: its span is the root of a trace of its
 * own, and linked to the spans of its callers. In the trace of each caller are two spans of its own input, its
 * wait and its run, and the run is linked to the batch.
 *
 *     caller's trace      POST /digits ─┬─ DigitClassifier.classify wait
 *                              ▲        └─ DigitClassifier.classify run
 *                        link  │                    │ link
 *     batch's trace            └── DigitClassifier.classify batch ── what the batch function does
 */
export class BatchTraces implements EventListeners {
  readonly #inputs = new WeakMap<InputEvent, TracedInput>();
  /** Spans of the batches that run. */
  readonly #batches = new Map<BatchEvent, Span>();

  constructor(private readonly tracer: Tracer) {}

  readonly 'input:submit' = (input: InputEvent): void => {
    const caller = context.active();
    const parent = trace.getSpanContext(caller);
    // A caller without a span gets none: each would be the root of a trace that says nothing.
    if (!parent || !isSpanContextValid(parent)) return;
    const attributes = { 'batching.queue': input.queue.name };
    const wait = this.tracer.startSpan(`${input.queue.name} wait`, { attributes }, caller);
    this.#inputs.set(input, { caller, link: { context: parent }, wait, run: undefined });
  };

  readonly 'batch:start' = (batch: BatchEvent): void => {
    const { name } = batch.queue;
    const attributes: Attributes = {
      'batching.queue': name,
      'batching.batch.size': batch.size,
      'batching.batch.reason': batch.reason,
      // No `Math.max(...waits)`: a call takes no more than some 100,000 arguments.
      'batching.batch.waited': batch.waits.reduce((longest, wait) => Math.max(longest, wait), 0),
    };
    const traced = batch.inputs.flatMap((input) => this.#inputs.get(input) ?? []);
    const span = this.tracer.startSpan(
      `${name} batch`,
      { attributes, root: true, links: linksOf(traced) },
      ROOT_CONTEXT,
    );
    this.#batches.set(batch, span);
    const within = trace.setSpan(ROOT_CONTEXT, span);
    batch.wrapRun((run) => context.with(within, run));
    const links = [{ context: span.spanContext() }];
    for (const input of traced) {
      input.wait.end();
      input.run = this.tracer.startSpan(`${name} run`, { attributes, links }, input.caller);
    }
  };

  readonly 'batch:end' = (batch: BatchEvent): void => {
    const span = this.#batches.get(batch);
    const { report } = batch;
    if (!span || !report) return;
    this.#batches.delete(batch);
    span.setAttributes({ 'batching.batch.results': report.results, 'batching.batch.errors': report.errors });
    if ('error' in report) fail(span, report.error);
    span.end();
  };

  /** Ends the spans of batches that run on although their queue has stopped: nothing else would ever end them. */
  close(): void {
    for (const span of this.#batches.values()) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: 'it had not ended when the application closed' });
      span.end();
    }
    this.#batches.clear();
  }

  readonly 'input:end' = (input: InputEvent): void => {
    const traced = this.#inputs.get(input);
    if (!traced) return;
    const span = traced.run ?? traced.wait;
    span.setAttribute('batching.outcome', input.outcome ?? 'result');
    // It joined an input that ran already, so its wait was for a result.
    if (!traced.run && input.ran) span.setAttribute('batching.coalesced', true);
    // An input that its own caller gave up has not failed.
    if (input.aborted) span.setAttribute('batching.aborted', true);
    else if (input.outcome !== 'result') fail(span, input.error);
    span.end();
  };
}

/** One link per span: a caller may submit many inputs. */
function linksOf(inputs: readonly TracedInput[]): Link[] {
  return [...new Map(inputs.map(({ link }) => [link.context.spanId, link])).values()];
}

function fail(span: Span, error: unknown): void {
  if (error instanceof Error) span.recordException(error);
  span.setStatus({
    code: SpanStatusCode.ERROR,
    message: error instanceof Error ? error.message : showThrown(error),
  });
}
