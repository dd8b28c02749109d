import type { ServerResponse } from 'node:http';
import { ApiError, CONFIGURATION, onceOver } from '@app/serving';
import { type BeforeApplicationShutdown, Inject, Injectable } from '@nestjs/common';
import type { Configuration } from './configuration.js';
import { EventStream } from './event-stream.js';

/** All streams of the server, and their places. */
@Injectable()
export class Streams implements BeforeApplicationShutdown {
  readonly #open = new Set<EventStream>();
  #taken = 0;
  #stopped: ApiError | undefined;

  constructor(@Inject(CONFIGURATION) private readonly configuration: Configuration) {}

  /** Texts that are written now. */
  get taken(): number {
    return this.#taken;
  }

  /**
   * Takes places for texts.
   *
   * @returns gives one of them back
   * @throws {ApiError} 503 where there are not as many
   */
  takePlaces(count: number): () => void {
    const { maxWriters } = this.configuration;
    if (this.#stopped) throw this.#stopped;
    if (this.#taken + count > maxWriters) {
      throw new ApiError(
        503,
        'ERR_WRITERS_FULL',
        `${count === 1 ? 'a text needs a place' : `${count} texts need a place each`}, and ${maxWriters - this.#taken} of ${maxWriters} are free`,
        { details: { limit: maxWriters, taken: this.#taken }, retryAfter: 2 },
      );
    }
    this.#taken += count;
    return () => (this.#taken -= 1);
  }

  /** Begins the answer; from now on errors are its last event. */
  open(response: ServerResponse): EventStream {
    if (this.#stopped) throw this.#stopped;
    const stream = new EventStream(response, this.configuration.readerTimeout);
    this.#open.add(stream);
    onceOver(response, () => this.#open.delete(stream));
    return stream;
  }

  /** Or the server would wait for the end of these streams before it closes. */
  beforeApplicationShutdown(): void {
    this.#stopped = new ApiError(503, 'ERR_STOPPING', 'the server is shutting down; ask again');
    for (const stream of this.#open) stream.stop(this.#stopped);
  }
}
