import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { findProgram, freePort } from './local-server.js';

type Settings = Readonly<Record<string, string>>;

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

  /**
   * @param settings further ones, by their names
   * @param configuration lines of a configuration file, which the server writes into; none: without such a file
   */
  static async start(settings: Settings = {}, configuration?: readonly string[]): Promise<RedisServer> {
    const program = findProgram('redis-server');
    if (program === undefined) throw new Error('Redis is not installed: apt-get install redis-server');
    for (let attempt = 1; ; attempt++) {
      const server = new RedisServer(program, await freePort(), settings, configuration);
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
    private readonly settings: Settings,
    private readonly configuration: readonly string[] | undefined,
  ) {
    this.url = `redis://127.0.0.1:${port}`;
  }

  /** A Sentinel that watches a server by the name `main`, and has a replica take its place when it is gone. */
  static startSentinel({ port }: RedisServer): Promise<RedisServer> {
    return RedisServer.start({ sentinel: '' }, [
      `sentinel monitor main 127.0.0.1 ${port} 1`,
      'sentinel down-after-milliseconds main 300',
      'sentinel failover-timeout main 3000',
    ]);
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Kills it and starts it again on the same port, with nothing in it. */
  async restart(): Promise<void> {
    await this.kill();
    await this.#listen();
  }

  /** Ends it as a crash does. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#process;
    process.off('exit', this.#kill);
    if (server?.exitCode === null && server.kill(signal)) {
      await new Promise((resolve) => server.once('close', resolve));
    }
  }

  async #listen(): Promise<void> {
    const file = join(this.#folder, 'redis.conf');
    if (this.configuration) writeFileSync(file, this.configuration.join('\n'));
    const isSentinel = 'sentinel' in this.settings;
    const settings: Settings = {
      port: String(this.port),
      bind: '127.0.0.1',
      dir: this.#folder,
      ...(isSentinel ? {} : { save: '', appendonly: 'no' }),
      ...this.settings,
    };
    const server = spawn(
      this.program,
      [
        ...(this.configuration ? [file] : []),
        ...Object.entries(settings).flatMap(([name, value]) =>
          name === 'sentinel' ? ['--sentinel'] : [`--${name}`, ...(value === '' ? [''] : value.split(' '))],
        ),
      ],
      { cwd: this.#folder, stdio: ['ignore', 'pipe', 'ignore'] },
    );
    this.#process = server;
    process.once('exit', this.#kill);
    let log = '';
    await new Promise<void>((resolve, reject) => {
      server.stdout.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        if (/Ready to accept connections|Sentinel ID is/.test(log)) resolve();
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
