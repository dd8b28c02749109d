import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { natsPrograms, NatsServer } from '../../../test/nats-server.js';
import { RedisServer } from '../../../test/redis-server.js';
import type { TransportName } from './broker-url.js';
import type { Options } from './options.js';

/** What the nodes meet over. */
export interface Broker {
  readonly transport: TransportName;
  readonly url: string;
  /** Ends it, if it was started here. */
  stop(): Promise<void>;
}

/** Neither was one given, nor can one be started; the message says how to get one. */
export class NoBrokerError extends Error {}

/** How to get one. */
const HOW = {
  redis: {
    name: 'Redis',
    program: 'redis-server',
    install: 'apt-get install redis-server, or brew install redis',
    container: 'docker run --rm -p 6379:6379 redis, and --url redis://127.0.0.1:6379',
  },
  nats: {
    name: 'NATS',
    program: 'nats-server',
    install: 'apt-get install nats-server, or brew install nats-server',
    container: 'docker run --rm -p 4222:4222 nats --jetstream, and --url nats://127.0.0.1:4222',
  },
};

/**
 * The broker that was given, else one of its own on loopback, on a port that was free.
 *
 * @throws NoBrokerError
 */
export async function openBroker({ transport, url }: Options): Promise<Broker> {
  if (url !== undefined && transport) return { transport, url, stop: () => Promise.resolve() };
  const possible = transport ? [transport] : (['redis', 'nats'] as const);
  for (const name of possible) {
    const server = await start(name);
    if (server) return { transport: name, url: server.url, stop: () => server.stop() };
  }
  const ways = possible.map((name) => {
    const { name: broker, install, container } = HOW[name];
    return `  ${broker}: ${install}; or in a container: ${container}`;
  });
  throw new NoBrokerError(
    `no broker: ${possible.map((name) => HOW[name].name).join(' and ')} cannot be found here. To get one:\n${ways.join('\n')}`,
  );
}

async function start(transport: TransportName): Promise<RedisServer | NatsServer | undefined> {
  if (!isInstalled(HOW[transport].program)) return undefined;
  if (transport === 'redis') return RedisServer.start();
  const [program] = natsPrograms('NATS');
  return program && NatsServer.start(program);
}

function isInstalled(program: string): boolean {
  // Debian has nats-server in a folder that is in the path of root alone.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
  return folders.some((folder) => existsSync(join(folder, program)));
}
