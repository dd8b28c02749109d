import { Agent, type IncomingMessage, request, type RequestOptions } from 'node:http';
import { Readable } from 'node:stream';

/** A client with 64 connections, kept open from one request to the next. */
export function connections(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 64 });
}

/** A stream is sent without its length. */
export type Body = string | Buffer | Readable;

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: string;
  /** Whether the request went over a connection that an earlier one had opened. */
  reusedSocket: boolean;
}

/** Sends one request; rejects when the connection ends before the whole answer is there. */
export function send(url: string, options: RequestOptions, body?: Body): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode = 0, headers } = response;
        resolve({
          status: statusCode,
          headers,
          body: Buffer.concat(chunks).toString(),
          reusedSocket: outgoing.reusedSocket,
        });
      });
    });
    outgoing.on('error', reject);
    if (body instanceof Readable) body.pipe(outgoing);
    else outgoing.end(body);
  });
}

/** Posts the body as JSON. */
export function postJson(url: string, body: unknown, options: RequestOptions = {}): Promise<Answer> {
  return send(
    url,
    { ...options, method: 'POST', headers: { 'content-type': 'application/json' } },
    JSON.stringify(body),
  );
}
