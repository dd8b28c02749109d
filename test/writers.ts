import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type INestApplication, Logger } from '@nestjs/common';
import { readConfiguration } from '../apps/writers/src/configuration.js';
import { createApp } from '../apps/writers/src/create-app.js';

/** Starts the writers in this process, on any free port. */
export async function startWriters(
  environment: Record<string, string> = {},
): Promise<{ app: INestApplication; url: string }> {
  const app = await createApp(readConfiguration(environment));
  // Tests provoke errors.
  Logger.overrideLogger(false);
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  return { app, url: `http://127.0.0.1:${port}` };
}

/** Server-sent events, as they come. */
export async function* eventsOf(
  response: Response,
): AsyncGenerator<{ event: string; data: Record<string, unknown> }, void> {
  let text = '';
  for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += piece;
    const events = text.split('\n\n');
    text = events.pop() ?? '';
    for (const event of events) {
      const [, name = '', data = ''] = /^event: (.*)\ndata: (.*)$/.exec(event) ?? [];
      yield { event: name, data: JSON.parse(data) as Record<string, unknown> };
    }
  }
}

/** Posts the body as JSON, and leaves the answer to be read. */
export function post(url: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
}
