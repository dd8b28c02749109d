import { BatchingError, BatchingExceptionFilter } from 'nest-batching';
import type { WebSocket } from 'ws';
import { CLOSE, Refusal } from './refusal.js';

/** Longest that a client may take to close its side, in milliseconds. */
const CLOSE_TIME = 1000;
const FAILURE = new Refusal('ERR_INTERNAL', CLOSE.failure, 'the server has failed');

/**
 * Sends an event.
 *
 * @param maxUnread most bytes of earlier ones that the client has not read
 * @throws {Refusal} if there are more
 */
export function sendTo(client: WebSocket, event: string, data: object, maxUnread: number): void {
  if (client.readyState !== client.OPEN) return;
  if (client.bufferedAmount > maxUnread) {
    throw new Refusal('ERR_UNREAD', CLOSE.policy, `over ${maxUnread} bytes of answers have not been read`);
  }
  client.send(JSON.stringify({ event, data }));
}

/** Says why, and closes the connection. */
export function endClient(client: WebSocket, { code, closeCode, message, retryAfter }: Refusal): void {
  // One that reads nothing would not get these either, and they would be kept in memory.
  if (code !== 'ERR_UNREAD')
    client.send(JSON.stringify({ event: 'ended', data: { code, message, retryAfter } }));
  client.close(closeCode, code);
  setTimeout(() => {
    client.terminate();
  }, CLOSE_TIME).unref();
}

/** The part of an error that a client gets: no details of internal ones. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (!(error instanceof BatchingError)) return FAILURE;
  const { statusCode, message, retryAfter } = BatchingExceptionFilter.answerTo(error);
  if (statusCode === 500) return FAILURE;
  const code = error.code as `ERR_${string}`;
  return retryAfter === undefined
    ? new Refusal(code, CLOSE.failure, message)
    : new Refusal(code, CLOSE.tryLater, message, 1000 * retryAfter);
}
