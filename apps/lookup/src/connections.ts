import type { Server, ServerResponse } from 'node:http';
import { type BeforeApplicationShutdown, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

/**
 * Lets the server close as soon as every request is answered. Left alone, a client that keeps its connection open would
 * keep a stopping server busy with ever new requests.
 */
@Injectable()
export class Connections implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #open = new Set<ServerResponse>();
  #isClosing = false;

  constructor(private readonly host: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    const server = this.host.httpAdapter.getHttpServer() as Server;
    // In front of the framework, which may answer before a later listener is called.
    server.prependListener('request', (_request, response: ServerResponse) => {
      this.#open.add(response);
      response.once('close', () => this.#open.delete(response));
      if (this.#isClosing) response.shouldKeepAlive = false;
    });
  }

  /** From here on each connection ends with the answer that is under way on it; the client is told by `Connection: close`. */
  beforeApplicationShutdown(): void {
    this.#isClosing = true;
    for (const response of this.#open) response.shouldKeepAlive = false;
  }
}
