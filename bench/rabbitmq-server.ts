import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram, freePort } from '../test/local-server.js';

/** Where Debian has the script itself; its program of the path wants to be another user. */
const SCRIPT = '/usr/lib/rabbitmq/bin/rabbitmq-server';

/** A RabbitMQ of one's own on loopback, in a folder of its own. What it holds is gone when it stops. */
export class RabbitServer {
  /** For `urls` of Nest's RMQ. */
  readonly url: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'rabbitmq-'));
  readonly #processes: ChildProcess[] = [];
  /** With the processes of their own that they have started. */
  readonly #kill = () => {
    for (const { pid } of this.#processes.splice(0).reverse())
      if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  };

  static async start(): Promise<RabbitServer> {
    const server = new RabbitServer(await freePort(), await freePort(), await freePort());
    await server.#listen();
    return server;
  }

  private constructor(
    private readonly port: number,
    private readonly distributionPort: number,
    private readonly mapperPort: number,
  ) {
    this.url = `amqp://127.0.0.1:${port}`;
  }

  stop(): Promise<void> {
    process.off('exit', this.#kill);
    this.#kill();
    rmSync(this.#folder, { recursive: true, force: true });
    return Promise.resolve();
  }

  async #listen(): Promise<void> {
    const [folder, name] = [this.#folder, `bench-${this.port}@localhost`];
    const configuration = join(folder, 'rabbitmq.conf');
    writeFileSync(configuration, 'log.console = true\n');
    writeFileSync(join(folder, 'plugins'), '[].\n');
    process.once('exit', this.#kill);
    this.#spawn('epmd', ['-port', String(this.mapperPort), '-address', '127.0.0.1']);
    const server = this.#spawn(findRabbit() ?? SCRIPT, [], {
      HOME: folder,
      // In the foreground, as one process.
      RUNNING_UNDER_SYSTEMD: 'true',
      ERL_EPMD_PORT: String(this.mapperPort),
      RABBITMQ_NODENAME: name,
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: String(this.port),
      RABBITMQ_DIST_PORT: String(this.distributionPort),
      RABBITMQ_CONFIG_FILE: configuration,
      RABBITMQ_CONF_ENV_FILE: join(folder, 'none'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
      RABBITMQ_MNESIA_BASE: join(folder, 'data'),
      RABBITMQ_LOG_BASE: join(folder, 'log'),
      RABBITMQ_PID_FILE: join(folder, 'pid'),
    });
    let log = '';
    server.stdout?.on('data', (chunk: Buffer) => (log += chunk.toString()));
    server.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
    const ended = once(server, 'close').then(() => {
      throw new Error(`RabbitMQ ended:\n${log}`);
    });
    const ready = new Promise<void>((resolve) => {
      server.stdout?.on('data', () => {
        if (log.includes('Server startup complete')) resolve();
      });
    });
    ended.catch(() => undefined);
    await Promise.race([ready, ended]);
  }

  #spawn(program: string, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH, ...env },
    });
    this.#processes.push(child);
    return child;
  }
}

/** Whether a server can be started here. If not, prints so, since silence would look like success. */
export function hasRabbit(what: string): boolean {
  if (findRabbit() !== undefined) return true;
  process.stderr.write(
    `SKIPPED: ${what}: RabbitMQ is not installed here (apt-get install rabbitmq-server)\n`,
  );
  return false;
}

function findRabbit(): string | undefined {
  return existsSync(SCRIPT) ? SCRIPT : findProgram('rabbitmq-server');
}
