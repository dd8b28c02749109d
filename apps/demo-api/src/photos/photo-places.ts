import type { IncomingMessage, ServerResponse } from 'node:http';
import { Injectable } from '@nestjs/common';
import { QueueFullError } from 'nest-batching';
import { routeOf } from '../http/bodies.js';

/** Photos in progress. Each holds about 20 bytes per pixel; those that come on top are refused. */
const MOST_PHOTOS = 16;
/** When to try again then, in milliseconds. */
const RETRY_AFTER = 5000;

/**
 * The places of photos in progress. A photo has one from when its body has arrived until it is enlarged: clients that send
 * or read slowly take none from others.
 */
@Injectable()
export class PhotoPlaces {
  #taken = 0;

  /** @throws {QueueFullError} when no place is free */
  check(): void {
    if (this.#taken >= MOST_PHOTOS) throw new QueueFullError('PhotoUpscaler', MOST_PHOTOS, RETRY_AFTER);
  }

  /**
   * @returns gives the place back
   * @throws {QueueFullError} when none is free
   */
  take(): () => void {
    this.check();
    this.#taken++;
    let isTaken = true;
    return () => {
      if (isTaken) this.#taken--;
      isTaken = false;
    };
  }
}

/**
 * A middleware in front of the body parsers: while no place is free, a photo is refused before its body is read. Bodies that
 * are on their way have the bounds of all bodies.
 */
export function refusePhotos(
  places: PhotoPlaces,
): (request: IncomingMessage, response: ServerResponse, next: () => void) => void {
  return (request, _, next) => {
    if (routeOf(request) === 'POST /photos/upscale') places.check();
    next();
  };
}
