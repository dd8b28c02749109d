import type { IncomingMessage, ServerResponse } from 'node:http';
import { QueueFullError } from 'nest-batching';
import { routeOf } from '../http/bodies.js';

/** Photos in progress. Each holds about 20 bytes per pixel; those that come on top are refused. */
const MOST_PHOTOS = 16;
/** When to try again then, in milliseconds. */
const RETRY_AFTER = 5000;

/** @throws {QueueFullError} when so many photos are in progress that another one is refused */
export function checkPhotos(inProgress: number): void {
  if (inProgress >= MOST_PHOTOS) throw new QueueFullError('PhotoUpscaler', MOST_PHOTOS, RETRY_AFTER);
}

/**
 * A middleware in front of the body parsers: a photo that will be refused is not read. A photo is in progress from the head of
 * its request on.
 *
 * @throws {QueueFullError} when too many photos are in progress
 */
export function limitPhotos(): (
  request: IncomingMessage,
  response: ServerResponse,
  next: () => void,
) => void {
  // A set, as both events below may come at once, and the listener of the second one is called all the same.
  const inProgress = new Set<ServerResponse>();
  return (request, response, next) => {
    if (routeOf(request) !== 'POST /photos/upscale') {
      next();
      return;
    }
    checkPhotos(inProgress.size);
    inProgress.add(response);
    const { socket } = request;
    const release = () => {
      response.off('close', release);
      socket.off('close', release);
      inProgress.delete(response);
    };
    response.once('close', release);
    // An answer that waits behind others, of requests sent without waiting, is not closed with its connection.
    socket.once('close', release);
    next();
  };
}
