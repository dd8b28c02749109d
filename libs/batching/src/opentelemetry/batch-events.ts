import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { BatchEvent, InputEvent } from '../core/events.js';

/** What is called with the events of queues; see docs/events.md. */
export interface EventListeners {
  'input:submit'?: (input: InputEvent) => void;
  'input:end'?: (input: InputEvent) => void;
  'batch:start'?: (batch: BatchEvent) => void;
  'batch:end'?: (batch: BatchEvent) => void;
}

const NAMES = ['input:submit', 'input:end', 'batch:start', 'batch:end'] as const;

/**
 * Listens to the events of an application's queues.
 *
 * @param isOurs whether a queue is one of them: the channels are those of the process
 * @returns a function that ends it
 */
export function listen(
  listeners: EventListeners,
  isOurs: (queue: InputEvent['queue']) => boolean,
): () => void {
  const subscriptions = NAMES.flatMap((name) => {
    const listener = listeners[name] as ((message: unknown) => void) | undefined;
    if (!listener) return [];
    const onMessage = (message: unknown): void => {
      if (isOurs((message as InputEvent).queue)) listener(message);
    };
    subscribe(`nest-batching:${name}`, onMessage);
    return () => void unsubscribe(`nest-batching:${name}`, onMessage);
  });
  return () => {
    for (const end of subscriptions) end();
  };
}
