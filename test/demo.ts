import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { Agent, type IncomingMessage, request, type RequestOptions, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { INestApplication } from '@nestjs/common';
import type { QueueStats } from 'nest-batching';
import { Configuration } from '../apps/demo-api/src/configuration.js';
import { createApp } from '../apps/demo-api/src/create-app.js';

export const adapters = ['express', 'fastify'] as const;

/** Starts the demo in this process, on any free port unless PORT says which. */
export async function startDemo(
  environment: NodeJS.ProcessEnv,
): Promise<{ app: INestApplication; url: string }> {
  const app = await createApp(new Configuration({ LOG_LEVEL: 'error', ...environment }));
  await app.listen(Number(environment.PORT ?? 0), '127.0.0.1');
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  return { app, url: `http://127.0.0.1:${port}` };
}

/** A built application as a process of its own. */
export class AppProcess {
  readonly #process: ChildProcessByStdio<null, Readable, Readable>;
  /** What it has written so far, to stdout and to stderr. */
  output = '';
  /** Resolves when it has ended, with how. */
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  constructor(app: string, environment: NodeJS.ProcessEnv, nodeOptions: readonly string[]) {
    const main = join(import.meta.dirname, `../dist/${app}/apps/${app}/src/main.js`);
    if (!existsSync(main)) throw new Error(`${main} is missing: npm run build`);
    this.#process = spawn(process.execPath, [...nodeOptions, main], {
      env: { PATH: process.env.PATH, PORT: '0', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
    this.exit = new Promise((resolve) => {
      this.#process.once('close', (code, signal) => {
        resolve({ code, signal });
      });
    });
  }

  /** Resolves with its address when it listens. */
  listening(): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const port = /http:\/\/localhost:(\d+)/.exec(this.output)?.[1];
        if (port) resolve(`http://127.0.0.1:${port}`);
      };
      this.#process.stdout.on('data', look);
      look();
      void this.exit.then(() => {
        reject(new Error(`it did not start:\n${this.output}`));
      });
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }
}

export class DemoProcess extends AppProcess {
  constructor(environment: NodeJS.ProcessEnv, ...nodeOptions: string[]) {
    super('demo-api', { LOG_FORMAT: 'json', ...environment }, nodeOptions);
  }
}

/** A client with 64 connections, kept open from one request to the next. */
export function connections(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 64 });
}

/** A stream's length is not told to the server. */
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

/** The first event of the live view. */
export async function liveView(url: string, headers: Record<string, string> = {}): Promise<LiveEvent> {
  const response = await fetch(`${url}/queues/live`, { headers });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!/^data: .*\n/m.test(text)) text += (await reader?.read())?.value ?? '';
  await reader?.cancel();
  const data = JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? '') as Omit<LiveEvent, 'id'>;
  return { id: /^id: (.*)$/m.exec(text)?.[1], ...data };
}

export interface LiveEvent {
  id: string | undefined;
  queues: QueueStats[];
  batches: { queue: string; size: number; reason: string; waited: number; ran: number; at: number }[];
}
