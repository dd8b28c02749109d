import type { Server, ServerResponse } from 'node:http';
import { type BeforeApplicationShutdown, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { Configuration } from '../configuration.js';

/**
 * Lets the server close as soon as every request is answered. Left alone, a client that keeps its connection open would
 * keep a stopping server busy with ever new requests, and an idle one would keep it waiting.
 */
@Injectable()
export class Connections implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #open = new Set<ServerResponse>();
  #closing = false;

  constructor(
    private readonly host: HttpAdapterHost,
    private readonly configuration: Configuration,
  ) {}

  get closing(): boolean {
    return this.#closing;
  }

  onApplicationBootstrap(): void {
    // In front of the framework, which may answer before a later listener is called.
    this.#server.prependListener('request', (_request, response: ServerResponse) => {
      this.#open.add(response);
      response.once('close', () => this.#open.delete(response));
      if (this.#closing) endConnectionAfter(response);
    });
  }

  /** From here on each connection ends with the answer that is under way on it. */
  beforeApplicationShutdown(): void {
    this.#closing = true;
    this.#open.forEach(endConnectionAfter);
    setTimeout(() => {
      this.#server.closeAllConnections();
    }, this.configuration.shutdownTimeout).unref();
  }

  get #server(): Server {
    return this.host.httpAdapter.getHttpServer() as Server;
  }
}

function endConnectionAfter(response: ServerResponse): void {
  // Tells the client too: with this, Node sends `Connection: close`.
  response.shouldKeepAlive = false;
  const { socket } = response;
  if (response.headersSent) response.once('finish', () => socket?.end());
}
