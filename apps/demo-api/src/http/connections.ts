import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type BeforeApplicationShutdown, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { Configuration } from '../configuration.js';

/**
 * Lets the server close as soon as every request is answered. Left alone, a client that keeps its connection open would
 * keep a stopping server busy with ever new requests, and an idle one would keep it waiting.
 */
@Injectable()
export class Connections implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #sockets = new Set<Socket>();
  /** The answers that are not sent to the end yet, each with its connection. */
  readonly #open = new Map<ServerResponse, Socket>();
  #closing = false;

  constructor(
    private readonly host: HttpAdapterHost,
    private readonly configuration: Configuration,
  ) {}

  get closing(): boolean {
    return this.#closing;
  }

  onApplicationBootstrap(): void {
    const server = this.#server;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    // In front of the framework, which may answer before a later listener is called.
    server.prependListener('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
      this.#open.set(response, socket);
      response.once('close', () => this.#open.delete(response));
      if (this.#closing) endConnectionAfter(response, socket);
    });
    // Called by `close`. Node's own takes a connection for idle whose answer is written but not sent, and cuts it off.
    server.closeIdleConnections = () => {
      const busy = new Set(this.#open.values());
      for (const socket of this.#sockets) if (!busy.has(socket)) socket.destroy();
    };
  }

  /** From here on each connection ends with the answer that is under way on it. */
  beforeApplicationShutdown(): void {
    this.#closing = true;
    for (const [response, socket] of this.#open) endConnectionAfter(response, socket);
    setTimeout(() => {
      this.#server.closeAllConnections();
    }, this.configuration.shutdownTimeout).unref();
  }

  get #server(): Server {
    return this.host.httpAdapter.getHttpServer() as Server;
  }
}

function endConnectionAfter(response: ServerResponse, socket: Socket): void {
  // Tells the client too: with this, Node sends `Connection: close`.
  response.shouldKeepAlive = false;
  // Too late to tell, and the client may ask once more. With `end` that was read, and done, but could not be answered.
  if (response.headersSent) response.once('finish', () => socket.destroy());
}
