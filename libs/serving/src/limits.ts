import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { INestApplication } from '@nestjs/common';

/** Limits of an HTTP server. */
export interface ServerLimits {
  /** Most open connections, an integer ≥ 1. Requests on further connections are answered with 503. */
  connections: number;
  /**
   * Most requests of one connection in progress, an integer ≥ 1. Further requests that a client sends without
   * waiting for answers begin when earlier ones end; until then nothing more is read from the connection.
   */
  requestsPerConnection: number;
}

interface Connection {
  inProgress: number;
  /** Functions that begin the requests that have been read already, in order. */
  readonly held: (() => void)[];
}

/**
 * Milliseconds for which a connection beyond the limit stays open, to get its request and to send the answer.
 */
const REFUSAL_TIME = 1000;
/** Milliseconds for which the rest of a body is read after its answer; then the connection is closed. */
const REST_TIME = 2000;

/** Applies the limits to the server. Must be called before other middleware is added. */
export function limitServer(
  app: INestApplication,
  { connections, requestsPerConnection }: ServerLimits,
): void {
  const server = app.getHttpServer() as Server;
  const open = new Map<Socket, Connection>();
  const surplus = new Set<Socket>();
  // As many connections again are answered with 503; Node closes any further ones at once.
  server.maxConnections = 2 * connections;

  server.on('connection', (socket: Socket) => {
    const connection: Connection = { inProgress: 0, held: [] };
    if (open.size - surplus.size >= connections) {
      surplus.add(socket);
      setTimeout(refuse, REFUSAL_TIME, socket).unref();
    }
    open.set(socket, connection);
    // Of each request the body, the caller and the stream of its answer may listen for the end of its connection.
    socket.setMaxListeners(3 * requestsPerConnection + 20);
    // Reading a body resumes the socket.
    socket.on('resume', () => {
      if (connection.held.length > 0) socket.pause();
    });
    socket.once('close', () => {
      connection.held.length = 0;
      open.delete(socket);
      if (surplus.delete(socket)) return;
      // A connection that would have been refused takes its place.
      const [first] = surplus;
      if (first) surplus.delete(first);
    });
  });

  const refuse = (socket: Socket) => {
    if (!surplus.has(socket)) return;
    // A client that has sent no request gets an answer too.
    if (socket.bytesWritten === 0) socket.write(REFUSAL);
    socket.destroySoon();
  };

  app.use((request: IncomingMessage, response: ServerResponse, next: () => void) => {
    // Limits, shutdown, the framework and the stream of an answer each listen for its end; Node warns of more than ten.
    response.setMaxListeners(20);
    const { socket } = request;
    const connection = open.get(socket);
    // A connection of another server: Fastify starts one for each address of `localhost`.
    if (!connection) {
      next();
      return;
    }
    response.once('finish', () => {
      // A client that is still sending may not have read the answer; closed at once, it would get a reset
      // instead.
      if (!request.complete) setTimeout(closeUnlessComplete, REST_TIME, request).unref();
    });
    if (surplus.has(socket)) {
      answerTooMany(response, connections);
      return;
    }
    const begin = () => {
      connection.inProgress++;
      response.once('close', () => {
        connection.inProgress--;
        const next = connection.held.shift();
        next?.();
        if (next && connection.held.length === 0) socket.resume();
      });
      next();
    };
    if (connection.inProgress < requestsPerConnection) {
      begin();
    } else {
      connection.held.push(begin);
      socket.pause();
    }
  });
}

const REFUSAL =
  'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

function answerTooMany(response: ServerResponse, connections: number): void {
  response.statusCode = 503;
  response.setHeader('Retry-After', '1');
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  const message = `${connections} connections are open, as many as this server takes`;
  const code = 'ERR_TOO_MANY_CONNECTIONS';
  response.end(JSON.stringify({ statusCode: 503, error: 'Service Unavailable', message, code }));
}

function closeUnlessComplete({ complete, socket }: IncomingMessage): void {
  if (!complete) socket.destroy();
}
