import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { INestApplication } from '@nestjs/common';

export interface ServerLimits {
  /** Most connections at once, an integer ≥ 1. Requests on others are answered with 503. */
  connections: number;
  /**
   * Most requests of one connection in progress at once, an integer ≥ 1. A client may send more without waiting for
   * answers; they begin as earlier ones end, and until then nothing more is read from the connection.
   */
  requestsPerConnection: number;
}

interface Connection {
  inProgress: number;
  /** Begin the requests that have been read already, in their order. */
  readonly held: (() => void)[];
}

/** How long a connection beyond the limit stays, for its request to come and its answer to be read, in milliseconds. */
const REFUSAL_TIME = 1000;
/** How long the rest of a body is read after its answer, in milliseconds. Then the connection is closed. */
const REST_TIME = 2000;

/** Called before other middleware is added. */
export function limitServer(
  app: INestApplication,
  { connections, requestsPerConnection }: ServerLimits,
): void {
  const server = app.getHttpServer() as Server;
  const open = new Map<Socket, Connection>();
  const surplus = new Set<Socket>();
  // What comes on top of as many that are refused is cut off at once.
  server.maxConnections = 2 * connections;

  server.on('connection', (socket: Socket) => {
    const connection: Connection = { inProgress: 0, held: [] };
    if (open.size - surplus.size >= connections) {
      surplus.add(socket);
      setTimeout(refuse, REFUSAL_TIME, socket).unref();
    }
    open.set(socket, connection);
    // Each request may listen for the end of its connection.
    socket.setMaxListeners(requestsPerConnection + 20);
    // Whatever reads a body resumes its socket.
    socket.on('resume', () => {
      if (connection.held.length > 0) socket.pause();
    });
    socket.once('close', () => {
      connection.held.length = 0;
      open.delete(socket);
      if (surplus.delete(socket)) return;
      // Its place is for one that would have been refused.
      const [first] = surplus;
      if (first) surplus.delete(first);
    });
  });

  const refuse = (socket: Socket) => {
    if (!surplus.has(socket)) return;
    // One that has sent no request may wait for something to read.
    if (socket.bytesWritten === 0) socket.write(refusal);
    socket.destroySoon();
  };

  app.use((request: IncomingMessage, response: ServerResponse, next: () => void) => {
    const { socket } = request;
    const connection = open.get(socket);
    // A second server's: Fastify starts one per address of `localhost`.
    if (!connection) {
      next();
      return;
    }
    response.once('finish', () => {
      // A client that still sends may not have read its answer: closed at once, it would learn of a reset instead.
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

const refusal =
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
