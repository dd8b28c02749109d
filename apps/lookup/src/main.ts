import 'reflect-metadata';
import type { AddressInfo, Server } from 'node:net';
import { CheckError } from './check.js';
import { readConfiguration } from './configuration.js';
import { createApp } from './create-app.js';
import { MemberDatabase } from './members/member-database.js';
import { StartError } from './start-error.js';

try {
  const { host, port, ...rest } = readConfiguration(process.env);
  const app = await createApp({ host, port, ...rest });
  await app.listen(port, host);
  const { port: openPort } = (app.getHttpServer() as Server).address() as AddressInfo;
  console.log(`Open http://${nameOf(host)}:${openPort} (the members are in ${app.get(MemberDatabase).name})`);
} catch (error) {
  console.error(explain(error));
  process.exit(1);
}

/** The address that a browser on this machine can open. */
function nameOf(host: string): string {
  if (['0.0.0.0', '::', '127.0.0.1', '::1'].includes(host)) return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

/** What whoever starts the server can do about it; for anything else, where it happened. */
function explain(error: unknown): unknown {
  if (error instanceof CheckError) return `Cannot start; the environment needs a change:\n${error.message}`;
  if (error instanceof StartError) return `Cannot start: ${error.message}`;
  const { code, port } = error as NodeJS.ErrnoException & { port?: number };
  switch (code) {
    case 'EADDRINUSE':
      return `Cannot start: port ${port} is in use. Stop what listens there, or set PORT to another one (0: any).`;
    case 'EACCES':
      return `Cannot start: port ${port} is not allowed here. Set PORT to one above 1023.`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `Cannot start: HOST is ${process.env.HOST}, which is no address of this machine.`;
    default:
      return error;
  }
}
