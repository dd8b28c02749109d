import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { findProgram, freePort } from './local-server.js';

/**
 * A Redis server of one's own on loopback, on a port that was free, in a folder of its own: no other server is touched.
 * What it holds is gone when it stops. Needs `redis-server` on this machine.
 */
export class RedisServer {
  /** For REDIS_URL. */
  readonly url: string;
  #process: ChildProcessByStdio<null, Readable, null> | undefined;
  /** Jest may end a worker without its hooks. */
  readonly #kill = () => this.#process?.kill('SIGKILL');

  static async start(): Promise<RedisServer> {
    const program = findProgram('redis-server');
    if (program === undefined) throw new Error('Redis is not installed: apt-get install redis-server');
    for (let attempt = 1; ; attempt++) {
      const server = new RedisServer(program, await freePort());
      try {
        await server.#listen();
        return server;
      } catch (error) {
        await server.stop();
        // Another process may have taken the port in between.
        if (attempt === 3 || !String(error).includes('already in use')) throw error;
      }
    }
  }

  readonly #folder = mkdtempSync(join(tmpdir(), 'redis-'));

  private constructor(
    private readonly program: string,
    readonly port: number,
  ) {
    this.url = `redis://127.0.0.1:${port}`;
  }

  async stop(): Promise<void> {
    const server = this.#process;
    process.off('exit', this.#kill);
    if (server?.exitCode === null && server.kill('SIGTERM')) {
      await new Promise((resolve) => server.once('close', resolve));
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Kills it and starts it again on the same port, with nothing in it. */
  async restart(): Promise<void> {
    const server = this.#process;
    process.off('exit', this.#kill);
    if (server?.exitCode === null && server.kill('SIGKILL')) {
      await new Promise((resolve) => server.once('close', resolve));
    }
    await this.#listen();
  }

  async #listen(): Promise<void> {
    const settings = { port: this.port, bind: '127.0.0.1', dir: this.#folder, save: '', appendonly: 'no' };
    const server = spawn(
      this.program,
      Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]),
      { cwd: this.#folder, stdio: ['ignore', 'pipe', 'ignore'] },
    );
    this.#process = server;
    process.once('exit', this.#kill);
    let log = '';
    await new Promise<void>((resolve, reject) => {
      server.stdout.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        if (log.includes('Ready to accept connections')) resolve();
      });
      server.once('error', reject);
      server.once('close', () => {
        reject(new Error(`the Redis server ended:\n${log}`));
      });
    });
  }
}

/** Whether a server can be started here. If not, prints so, since silence would look like success. */
export function hasRedis(what: string): boolean {
  if (findProgram('redis-server') !== undefined) return true;
  process.stderr.write(`SKIPPED: ${what}: Redis is not installed here (apt-get install redis-server)\n`);
  return false;
}
