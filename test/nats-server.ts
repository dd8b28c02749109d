import { execFileSync, spawn, type ChildProcessByStdio } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';
import { findProgram, freePort } from './local-server.js';

/** A program of nats-server. */
export interface NatsProgram {
  readonly path: string;
  readonly version: string;
}

/**
 * A NATS server with JetStream of one's own on loopback, on a port that was free, in a folder of its own: no other server is
 * touched. What it holds is gone when it stops.
 */
export class NatsServer {
  /** For NATS_URL. */
  readonly url: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'nats-'));
  #process: ChildProcessByStdio<null, null, Readable> | undefined;
  /** Jest may end a worker without its hooks. */
  readonly #kill = () => this.#process?.kill('SIGKILL');

  /** @param configuration further lines of its configuration file, with absolute paths */
  static async start(program: NatsProgram, configuration = ''): Promise<NatsServer> {
    for (let attempt = 1; ; attempt++) {
      const server = new NatsServer(program, await freePort(), configuration);
      try {
        await server.#listen();
        return server;
      } catch (error) {
        await server.stop();
        // Another process may have taken the port in between.
        if (attempt === 3 || !String(error).includes('address already in use')) throw error;
      }
    }
  }

  private constructor(
    private readonly program: NatsProgram,
    readonly port: number,
    private readonly configuration: string,
  ) {
    this.url = `nats://127.0.0.1:${port}`;
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Kills it and starts it again on the same port, with nothing in it. */
  async restart(): Promise<void> {
    await this.#end('SIGKILL');
    await this.#listen();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#process;
    process.off('exit', this.#kill);
    if (server?.exitCode === null && server.kill(signal)) {
      await new Promise((resolve) => server.once('close', resolve));
    }
  }

  async #listen(): Promise<void> {
    const file = join(this.#folder, 'nats.conf');
    writeFileSync(file, this.configuration);
    const data = mkdtempSync(join(this.#folder, 'data-'));
    const settings = ['--addr', '127.0.0.1', '--port', String(this.port), '--jetstream', '--store_dir', data];
    const server = spawn(this.program.path, ['--config', file, ...settings], {
      cwd: this.#folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = server;
    process.once('exit', this.#kill);
    let log = '';
    await new Promise<void>((resolve, reject) => {
      server.stderr.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        if (log.includes('Server is ready')) resolve();
      });
      server.once('error', reject);
      server.once('close', () => {
        reject(new Error(`the NATS server ended:\n${log}`));
      });
    });
  }
}

/**
 * The servers to be tested with: `nats-server` of the path, and those that `NATS_SERVERS` lists, separated as the path is.
 * If there is none, prints so, since silence would look like success.
 */
export function natsPrograms(what: string): NatsProgram[] {
  const listed = (process.env.NATS_SERVERS ?? '').split(delimiter).filter((path) => path !== '');
  // Debian has it in a folder that is in the path of root alone.
  const found = findProgram('nats-server', ['/usr/sbin']);
  const paths = [...(found === undefined ? [] : [found]), ...listed];
  if (paths.length === 0) {
    process.stderr.write(`SKIPPED: ${what}: NATS is not installed here (apt-get install nats-server)\n`);
  }
  return paths.map((path) => {
    const said = execFileSync(path, ['--version'], { encoding: 'utf8' });
    return { path, version: /\d+\.\d+\.\d+/.exec(said)?.[0] ?? said.trim() };
  });
}
