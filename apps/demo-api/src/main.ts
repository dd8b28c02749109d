import 'reflect-metadata';
import type { AddressInfo, Server } from 'node:net';
import { Logger } from '@nestjs/common';
import { BatchingError } from 'nest-batching';
import { getTfjsModelToken, type TfjsModel } from 'nest-batching/tfjs';
import { Configuration } from './configuration.js';
import { createApp } from './create-app.js';
import { SchemaError } from './json-schema.js';

try {
  await start(new Configuration(process.env));
} catch (error) {
  console.error(explain(error));
  process.exit(1);
}

async function start(configuration: Configuration): Promise<void> {
  const { host, port, httpAdapter } = configuration;
  const app = await createApp(configuration);
  await app.listen(port, host);
  const { port: openPort } = (app.getHttpServer() as Server).address() as AddressInfo;
  const { backend, device } = app.get<TfjsModel>(getTfjsModelToken('digits'));
  new Logger('Digits').log(
    `Open http://${nameOf(host)}:${openPort} (served by ${httpAdapter}, read by ${backend} on ${device})`,
  );
}

/** The address that a browser on this machine can open. */
function nameOf(host: string): string {
  if (['0.0.0.0', '::', '127.0.0.1', '::1'].includes(host)) return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

/** What whoever starts the server can do about it; for anything else, where it happened. */
function explain(error: unknown): unknown {
  if (error instanceof SchemaError) return `Cannot start; the environment needs a change:\n${error.message}`;
  if (error instanceof BatchingError) return `Cannot start: ${error.message}`;
  const { code, port, path } = error as NodeJS.ErrnoException & { port?: number };
  switch (code) {
    case 'EADDRINUSE':
      return `Cannot start: port ${port} is in use. Stop what listens there, or set PORT to another one (0: any).`;
    case 'ENOENT':
      return `Cannot start: ${path} is missing.`;
    case 'EACCES':
      return `Cannot start: port ${port} is not allowed here. Set PORT to one above 1023.`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `Cannot start: HOST is ${process.env.HOST}, which is no address of this machine.`;
    default:
      return error;
  }
}
