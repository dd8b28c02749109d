import { execFile, execFileSync, spawn, type ChildProcessByStdio } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import pg from 'pg';

/**
 * A PostgreSQL server of one's own, in a folder of its own, reached through a socket in it: no other server is
 * touched, and no port is taken. Needs PostgreSQL's programs on this machine.
 */
export class PostgresServer {
  /** For DATABASE_URL: a database that is there from the beginning. */
  readonly url: string;
  #databases = 0;
  #process: ChildProcessByStdio<null, null, Readable> | undefined;
  /** Jest may end a worker without its hooks. */
  readonly #kill = () => this.#process?.kill('SIGKILL');

  /** @param settings such as `fsync=off`, for tests, which need not survive a power cut */
  static async start(settings: readonly string[] = []): Promise<PostgresServer> {
    const bin = programFolder();
    if (!bin) throw new Error('PostgreSQL is not installed: apt-get install postgresql');
    const folder = mkdtempSync(join(tmpdir(), 'postgres-'));
    const user = unprivilegedUser();
    if (user) chownSync(folder, user.uid, user.gid);
    const server = new PostgresServer(bin, folder, user, settings);
    try {
      await server.#initialize();
      await server.resume();
      return server;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  private constructor(
    private readonly bin: string,
    private readonly folder: string,
    private readonly user: User | undefined,
    private readonly settings: readonly string[],
  ) {
    this.url = `postgres://tester@${encodeURIComponent(folder)}/postgres`;
  }

  /** Starts it again after a `pause`. */
  async resume(): Promise<void> {
    const settings = ['listen_addresses=', `unix_socket_directories=${this.folder}`, ...this.settings];
    const server = spawn(
      join(this.bin, 'postgres'),
      ['-D', this.#data, ...settings.flatMap((setting) => ['-c', setting])],
      { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'], ...this.user },
    );
    this.#process = server;
    process.once('exit', this.#kill);
    let log = '';
    await new Promise<void>((resolve, reject) => {
      server.stderr.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        if (log.includes('ready to accept connections')) resolve();
      });
      server.once('error', reject);
      server.once('close', () => {
        reject(new Error(`the PostgreSQL server ended:\n${log}`));
      });
    });
  }

  /** The URL of one more database, which is empty. */
  async newDatabase(): Promise<string> {
    const name = `test_${++this.#databases}`;
    const client = new pg.Client(this.url);
    await client.connect();
    await client.query(`CREATE DATABASE ${name}`);
    await client.end();
    return this.url.replace(/[^/]*$/, name);
  }

  /**
   * Ends the server, and with it all its connections; its data stay. After `SIGINT`, transactions that run are undone;
   * `SIGQUIT` is a crash: connections break without a word.
   */
  async pause(signal: 'SIGINT' | 'SIGQUIT' = 'SIGINT'): Promise<void> {
    const server = this.#process;
    process.off('exit', this.#kill);
    if (server?.exitCode !== null) return;
    server.kill(signal);
    await new Promise((resolve) => server.once('close', resolve));
  }

  async stop(): Promise<void> {
    await this.pause();
    rmSync(this.folder, { recursive: true, force: true });
  }

  get #data(): string {
    return join(this.folder, 'data');
  }

  async #initialize(): Promise<void> {
    const options = ['--username=tester', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'];
    // The types know no uid here, but Node does.
    const user = { cwd: this.folder, ...this.user };
    await promisify(execFile)(join(this.bin, 'initdb'), ['--pgdata', this.#data, ...options], user);
  }
}

/** Whether a server can be started here. If not, prints so, since silence would look like success. */
export function hasPostgres(what: string): boolean {
  if (programFolder()) return true;
  process.stderr.write(`SKIPPED: ${what}: PostgreSQL is not installed here (apt-get install postgresql)\n`);
  return false;
}

/** Where `postgres` and `initdb` are: on the path, or where Debian and its kin put them, the newest version first. */
function programFolder(): string | undefined {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).toSorted((a, b) => Number(b) - Number(a)) : [];
  return [
    ...(process.env.PATH ?? '').split(delimiter),
    ...versions.map((version) => join(debian, version, 'bin')),
  ].find((folder) => ['postgres', 'initdb'].every((name) => existsSync(join(folder, name))));
}

interface User {
  uid: number;
  gid: number;
}

/** The server refuses to run as root. */
function unprivilegedUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = ['-u', '-g'].map((flag) =>
        Number(execFileSync('id', [flag, name], { stdio: ['ignore', 'pipe', 'ignore'] }).toString()),
      );
      if (uid !== undefined && gid !== undefined) return { uid, gid };
    } catch {
      // There is no such user here.
    }
  }
  throw new Error('PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody');
}
