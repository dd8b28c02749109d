import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

interface Connection {
  /** The last request, whose body may not have arrived completely. */
  request: IncomingMessage | undefined;
  /** The answers that have not been sent completely, in the order of their requests. */
  readonly answers: ServerResponse[];
  /** The answer that has `Connection: close` because this server is closing. */
  last: ServerResponse | undefined;
  /** Bytes received when the last request had ended; if there are more, another request has begun. */
  bytesRead: number;
}

/** Connections that the system accepts before Node does: Node's backlog of 511, and one. */
const BACKLOG = 512;
/**
 * Shortest time for which new connections are not read before the port closes, and longest wait after that,
 * in ms.
 */
const CALM_TIME = 25;

/**
 * Closes an HTTP server without losing a request. Without this, closing would reset the connections that Node
 * has not accepted yet, a client with an open connection could go on sending requests, and an idle connection
 * would delay the end.
 */
@Injectable()
export class Connections implements OnApplicationBootstrap {
  readonly #connections = new Map<Socket, Connection>();
  /** Connections that are accepted while the port closes. */
  #late: Socket[] | undefined;
  #isClosing = false;
  #isPortClosed = false;

  constructor(private readonly host: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    const server = this.#server;
    server.on('connection', (socket: Socket) => {
      this.#late?.push(socket);
      this.#connections.set(socket, { request: undefined, answers: [], last: undefined, bytesRead: 0 });
      socket.once('close', () => this.#connections.delete(socket));
    });
    // Before the framework's listener, which may answer before a later one is called.
    server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#onRequest(request, response);
    });
    // Called by `close`. Node's own function treats a connection as idle, and closes it, while its answer is
    // written but not sent, and as busy if it was never used.
    server.closeIdleConnections = () => {
      if (!this.#isPortClosed) return;
      for (const [socket, connection] of this.#connections) endIfIdle(socket, connection);
    };
  }

  /**
   * Adds `Connection: close` to all answers from now on, so that clients go elsewhere. Requests are still
   * accepted.
   */
  announceClose(): void {
    this.#isClosing = true;
    for (const connection of this.#connections.values()) endWithLastAnswer(connection);
  }

  /**
   * Closes the port, after reading what was sent to it. After that, `close` ends each connection when it has
   * no request.
   *
   * @param latest when to close it even if connections still come, on the clock of `performance.now()`
   */
  async closePort(latest: number): Promise<void> {
    // The system accepts connections in advance, and resets those that Node has not accepted when the port
    // closes. Each turn of the event loop accepts at least one of them, so the port is closed right after a
    // turn without any. The present turn does not count, as it may have looked for connections already.
    await turn();
    const late: Socket[] = (this.#late = []);
    const earliest = performance.now() + CALM_TIME;
    let isOver: boolean;
    do {
      const before = late.length;
      await turn();
      // They are not read yet: clients without answers open no more connections, so such a turn comes soon
      // even under load.
      for (const socket of late.slice(before)) socket.pause();
      const now = performance.now();
      isOver = now >= latest || (now >= earliest && late.length === before) || late.length >= BACKLOG;
    } while (!isOver);
    this.#server.close();
    for (const socket of late) socket.resume();
    // One turn reads what has arrived on these connections. Clients that have just connected get time to send
    // a request.
    const enough = performance.now() + CALM_TIME;
    do await turn();
    while (late.some(isSilent) && performance.now() < enough);
    await turn();
    this.#isPortClosed = true;
  }

  /** Closes all connections at once, even those with a request. */
  cutOff(): void {
    this.#server.closeAllConnections();
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const connection = this.#connections.get(socket);
    // A connection of a secondary server of Fastify, which closes its connections itself.
    if (!connection) return;
    connection.request = request;
    connection.answers.push(response);
    if (this.#isClosing) endWithLastAnswer(connection);
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

/** With pipelined requests, only the answer to the last one may close the connection. */
function endWithLastAnswer(connection: Connection): void {
  const last = connection.answers.at(-1);
  if (!last || last === connection.last) return;
  if (connection.last) connection.last.shouldKeepAlive = true;
  connection.last = last.shouldKeepAlive ? last : undefined;
  // Makes Node send `Connection: close`, unless the head has been sent already.
  last.shouldKeepAlive = false;
}

function endIfIdle(socket: Socket, { request, answers, bytesRead }: Connection): void {
  if (answers.length > 0) return;
  // A request that was answered before it had arrived completely is not waited for; an incomplete head is.
  const isIdle = request?.complete === false || socket.bytesRead === bytesRead;
  // After `end`, a request that arrives now would be processed, but could not be answered.
  if (isIdle) socket.destroy();
}
