import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { readConfiguration } from '../apps/demo-api/src/configuration.js';
import { createApp } from '../apps/demo-api/src/create-app.js';
import { AppProcess } from './app-process.js';

export { type Answer, type Body, connections, postJson, send } from './http.js';
export { liveView } from './live-view.js';

export const adapters = ['express', 'fastify'] as const;

/** How long a digit takes depends on the machine. */
const unlimited = { TIMEOUT: '0' };

/** Starts the demo in this process, on any free port unless PORT says which. */
export async function startDemo(
  environment: NodeJS.ProcessEnv,
): Promise<{ app: INestApplication; url: string }> {
  const app = await createApp(readConfiguration({ LOG_LEVEL: 'error', ...unlimited, ...environment }));
  await app.listen(Number(environment.PORT ?? 0), '127.0.0.1');
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  return { app, url: `http://127.0.0.1:${port}` };
}

/** The built demo as a process of its own. */
export class DemoProcess extends AppProcess {
  constructor(environment: NodeJS.ProcessEnv, ...nodeOptions: string[]) {
    super('demo-api', { LOG_FORMAT: 'json', ...unlimited, ...environment }, nodeOptions);
  }
}
