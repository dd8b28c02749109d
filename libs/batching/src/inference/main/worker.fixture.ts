import { Worker } from 'node:worker_threads';
import { jest } from '@jest/globals';
import type { LoggerService } from '@nestjs/common';

/** Every message to a worker: the only way for a spec to find the inference worker's thread. */
export const messages = jest.spyOn(Worker.prototype, 'postMessage');

/** The thread that got the last message. */
export function lastWorker(): Worker {
  return messages.mock.contexts.at(-1) as Worker;
}

/** A logger, and the messages that it has got. */
export function recordingLogger(): { logger: LoggerService; logged: string[] } {
  const logged: string[] = [];
  const record = (message: string): void => {
    logged.push(message);
  };
  return { logger: { log: record, warn: record, error: record }, logged };
}
