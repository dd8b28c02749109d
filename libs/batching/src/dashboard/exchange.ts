import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { finished } from 'node:stream';
import {
  ForbiddenException,
  BadRequestException,
  PayloadTooLargeException,
  UnsupportedMediaTypeException,
} from '@nestjs/common';
import { show } from '../core/checks.js';

/** Most bytes of a body that is read here. */
const MOST_BYTES = 4096;

/** What the requests of Express and Fastify have in common. */
export interface AnyRequest {
  readonly method?: string;
  readonly raw?: IncomingMessage;
  readonly headers: IncomingHttpHeaders;
  readonly body?: unknown;
  readonly ip?: string;
}

/** The response of Express, which is Node's own, or the reply of Fastify. */
export type AnyResponse =
  ServerResponse | { readonly raw: ServerResponse; hijack(): unknown; getHeaders(): OutgoingHttpHeaders };

/**
 * Begins an answer on Node's own response, past interceptors and serializers of the application, with the headers that its
 * middleware has set.
 */
export function begin(response: AnyResponse, status: number, headers: OutgoingHttpHeaders): ServerResponse {
  if (!('raw' in response)) return response.writeHead(status, headers);
  response.hijack();
  return response.raw.writeHead(status, { ...response.getHeaders(), ...headers });
}

/**
 * Lets only JSON through that a page of the same origin sends, or a program that is no browser: a page of another site can
 * make its visitors' browsers send requests, with their cookies.
 *
 * @throws UnsupportedMediaTypeException or ForbiddenException with what was expected and what came
 */
export function checkSameOriginJson({ headers }: AnyRequest): void {
  const type = headers['content-type'];
  if (type?.split(';', 1)[0]?.trim().toLowerCase() !== 'application/json') {
    throw new UnsupportedMediaTypeException(`expected a body of type application/json, got ${show(type)}`);
  }
  const { origin } = headers;
  // HTTP/2 has the host elsewhere.
  const host = headers.host ?? headers[':authority'];
  const site = headers['sec-fetch-site'];
  // The browser's own word; where it gives none, the two addresses that it has sent.
  const isSame =
    site === undefined ? origin === undefined || hostOf(origin) === host : site === 'same-origin';
  if (!isSame) {
    const from = typeof site === 'string' ? `a ${site} one` : show(origin);
    throw new ForbiddenException(`expected a request of the page's own origin, got ${from}`);
  }
}

function hostOf(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined;
  }
}

/**
 * The JSON of a request, whether the application has parsed it, left it as bytes, or not read it at all.
 *
 * @throws BadRequestException or PayloadTooLargeException with what was expected
 */
export async function readJson(request: AnyRequest): Promise<unknown> {
  const { body } = request;
  if (Buffer.isBuffer(body) || typeof body === 'string') return parse(body.toString());
  if (body !== undefined) return body;
  return parse((await readBytes((request.raw ?? request) as NodeJS.ReadableStream)).toString());
}

function readBytes(stream: NodeJS.ReadableStream): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= MOST_BYTES) chunks.push(chunk);
      // The rest is read and dropped: to destroy the request, as leaving a `for await` does, would reset the connection before
      // the client reads why.
      else reject(new PayloadTooLargeException(`expected at most ${MOST_BYTES} bytes`));
    });
    finished(stream, { writable: false }, (error) => {
      if (error) reject(error);
      else resolve(Buffer.concat(chunks));
    });
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadRequestException(`expected JSON, got ${show(text)}`);
  }
}
