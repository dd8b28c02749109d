import type { AddressInfo, Server } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { BatchingError } from 'nest-batching';
import { EnvironmentError } from './environment.js';

/** Why the application cannot start; the message says what to do about it. */
export class StartError extends Error {}

/** Runs the start of a program. One that fails ends with 1, and the last that it says is what to do about it. */
export async function start(begin: () => Promise<void>): Promise<void> {
  try {
    await begin();
  } catch (error) {
    console.error(explain(error));
    process.exit(1);
  }
}

/** Opens the port, and gives the address that a browser on this machine can open. */
export async function listen(
  app: INestApplication,
  { host, port }: { host: string; port: number },
): Promise<string> {
  await app.listen(port, host);
  const { port: openPort } = (app.getHttpServer() as Server).address() as AddressInfo;
  const isLocal = ['0.0.0.0', '::', '127.0.0.1', '::1'].includes(host);
  const name = host.includes(':') ? `[${host}]` : host;
  return `http://${isLocal ? 'localhost' : name}:${openPort}`;
}

/** What to do about an error, in words; where that is not known, the error itself, with its stack. */
function explain(error: unknown): unknown {
  if (error instanceof EnvironmentError) {
    return `Cannot start; the environment needs a change:\n${error.message}`;
  }
  if (error instanceof StartError || error instanceof BatchingError) return `Cannot start: ${error.message}`;
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
