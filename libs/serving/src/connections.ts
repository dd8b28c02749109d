import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

interface Connection {
  /** The one that came last, which may still be on its way. */
  request: IncomingMessage | undefined;
  /** The answers that are not sent to the end yet, in the order of their requests. */
  readonly answers: ServerResponse[];
  /** The one that says `Connection: close` because this server is leaving. */
  last: ServerResponse | undefined;
  /** What had been received when the last request had ended: if there is more, another one has begun. */
  bytesRead: number;
}

/** The most connections that the system accepts ahead of Node: those that Node asks for, 511, and one. */
const BACKLOG = 512;
/** How long clients are calmed before the port closes, and waited for after it, in milliseconds. */
const CALMING = 25;

/**
 * Closes an HTTP server without losing a request. Left alone, a server that closes resets the connections that Node has
 * not accepted yet, a client that keeps its connection open would keep it busy with ever new requests, and an idle
 * connection would keep it waiting.
 */
@Injectable()
export class Connections implements OnApplicationBootstrap {
  readonly #connections = new Map<Socket, Connection>();
  /** Those that are accepted while the port closes. */
  #late: Socket[] | undefined;
  #isLeaving = false;
  #isPortClosed = false;

  constructor(private readonly host: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    const server = this.#server;
    server.on('connection', (socket: Socket) => {
      this.#late?.push(socket);
      this.#connections.set(socket, { request: undefined, answers: [], last: undefined, bytesRead: 0 });
      socket.once('close', () => this.#connections.delete(socket));
    });
    // In front of the framework, which may answer before a later listener is called.
    server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#onRequest(request, response);
    });
    // Called by `close`. Node's own takes a connection for idle whose answer is written but not sent, and cuts it off; and
    // for busy one that was never used.
    server.closeIdleConnections = () => {
      if (!this.#isPortClosed) return;
      for (const [socket, connection] of this.#connections) endIfIdle(socket, connection);
    };
  }

  /** From here on answers say `Connection: close`, so that clients go elsewhere; requests are still taken. */
  leave(): void {
    this.#isLeaving = true;
    for (const connection of this.#connections.values()) endWithLastAnswer(connection);
  }

  /**
   * Closes the port, and reads what was sent to it. From here on, `close` ends each connection as soon as it has no request.
   *
   * @param latest when to close it if connections still come, on the clock of `performance.now()`
   */
  async closePort(latest: number): Promise<void> {
    // The system accepts connections for Node, and resets those that Node has not taken when the port closes. A turn of the
    // event loop takes them, or at least one of them; so it is closed right after a turn that has found none. To the end of
    // the present turn first, which may have looked for connections already.
    await turn();
    const late: Socket[] = (this.#late = []);
    const earliest = performance.now() + CALMING;
    let isOver: boolean;
    do {
      const before = late.length;
      await turn();
      // Not read yet: clients that get no answers open no more connections, and such a turn comes soon also under load.
      for (const socket of late.slice(before)) socket.pause();
      const now = performance.now();
      isOver = now >= latest || (now >= earliest && late.length === before) || late.length >= BACKLOG;
    } while (!isOver);
    this.#server.close();
    for (const socket of late) socket.resume();
    // One turn reads what has come on these connections. Clients that have only just connected get time to send something.
    const enough = performance.now() + CALMING;
    do await turn();
    while (late.some(isSilent) && performance.now() < enough);
    await turn();
    this.#isPortClosed = true;
  }

  /** Ends all connections, whatever is under way on them. */
  cutOff(): void {
    this.#server.closeAllConnections();
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const connection = this.#connections.get(socket);
    // A secondary server's of Fastify, which ends its connections itself.
    if (!connection) return;
    connection.request = request;
    connection.answers.push(response);
    if (this.#isLeaving) endWithLastAnswer(connection);
    const onEnd = () => {
      if (request.complete) connection.bytesRead = socket.bytesRead;
    };
    request.once('close', onEnd);
    response.once('close', () => {
      connection.answers.splice(connection.answers.indexOf(response), 1);
      onEnd();
      if (this.#isPortClosed) endIfIdle(socket, connection);
    });
  }

  get #server(): Server {
    return this.host.httpAdapter.getHttpServer() as Server;
  }
}

function isSilent({ bytesRead, destroyed }: Socket): boolean {
  return bytesRead === 0 && !destroyed;
}

/** Of several requests that were sent without waiting for answers, the last has the answer that ends the connection. */
function endWithLastAnswer(connection: Connection): void {
  const last = connection.answers.at(-1);
  if (!last || last === connection.last) return;
  if (connection.last) connection.last.shouldKeepAlive = true;
  connection.last = last.shouldKeepAlive ? last : undefined;
  // With this, Node sends `Connection: close`. If the head is sent already, it is too late to tell the client.
  last.shouldKeepAlive = false;
}

function endIfIdle(socket: Socket, { request, answers, bytesRead }: Connection): void {
  if (answers.length > 0) return;
  // A request that is answered before it has arrived is not waited for. One whose head is half there is.
  const isIdle = request?.complete === false || socket.bytesRead === bytesRead;
  // With `end`, what is sent now would be read and done, but could not be answered.
  if (isIdle) socket.destroy();
}
