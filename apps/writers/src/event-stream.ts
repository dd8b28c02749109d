import type { ServerResponse } from 'node:http';
import { ApiError, errorBodyOf, onceOver } from '@app/serving';

export const EVENT_STREAM = 'text/event-stream; charset=utf-8';

/** Server-sent events to one reader. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #patience: number;
  readonly #controller = new AbortController();

  /** @param patience milliseconds for which the reader may leave full buffers unread */
  constructor(response: ServerResponse, patience: number) {
    this.#response = response;
    this.#patience = patience;
    onceOver(response, () => {
      this.stop(new ApiError(499, 'ERR_CLIENT_GONE', 'the client closed the connection'));
    });
    response.writeHead(200, {
      'Content-Type': EVENT_STREAM,
      'Cache-Control': 'no-store',
      // Or nginx would keep the events until it has enough of them.
      'X-Accel-Buffering': 'no',
    });
    response.flushHeaders();
  }

  /** Aborts when the reader has left or reads too slowly, and when the server shuts down. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * Sends one event.
   *
   * @returns a promise that resolves when there is room for another one
   * @throws the reason of `signal`
   */
  async send(event: string, data: unknown): Promise<void> {
    this.signal.throwIfAborted();
    if (!this.#write(event, data)) await this.#room();
  }

  /** Aborts `signal`. */
  stop(reason: Error): void {
    this.#controller.abort(reason);
  }

  /** Ends with a last event. The connection of a reader that does not read it is closed, and what was kept for it freed. */
  end(event: string, data: unknown): void {
    this.#write(event, data);
    this.#response.end();
    const timer = setTimeout(() => this.#response.destroy(), this.#patience).unref();
    onceOver(this.#response, () => {
      clearTimeout(timer);
    });
  }

  /** Ends with the event `error`, which has the body that the same error has as an answer. */
  fail(error: unknown): void {
    if (this.#response.destroyed || this.#response.req.socket.destroyed) return;
    this.end('error', errorBodyOf(error));
  }

  #write(event: string, data: unknown): boolean {
    return this.#response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  #room(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const message = `the reader has not read for ${this.#patience} ms; what was not sent is lost`;
        this.stop(new ApiError(408, 'ERR_READER_TOO_SLOW', message));
      }, this.#patience);
      const settle = () => {
        clearTimeout(timer);
        this.#response.off('drain', settle);
        this.signal.removeEventListener('abort', settle);
        if (this.signal.aborted) reject(this.signal.reason as Error);
        else resolve();
      };
      this.#response.once('drain', settle);
      this.signal.addEventListener('abort', settle);
    });
  }
}
