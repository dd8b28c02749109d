import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

/** A built application as a process of its own. */
export class AppProcess {
  readonly #process: ChildProcessByStdio<null, Readable, Readable>;
  /** What it has written so far, to stdout and to stderr. */
  output = '';
  /** Resolves when it has ended, with how. */
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  constructor(
    app: string,
    environment: NodeJS.ProcessEnv,
    nodeOptions: readonly string[] = [],
    file = 'main.js',
  ) {
    const main = join(import.meta.dirname, `../dist/${app}/apps/${app}/src/${file}`);
    if (!existsSync(main)) throw new Error(`${main} is missing: npm run build`);
    // Some end by a crash, which is to leave no core file behind.
    const command = ['-c', 'ulimit -c 0; exec "$@"', 'sh', process.execPath, ...nodeOptions, main];
    this.#process = spawn('sh', command, {
      env: { PATH: process.env.PATH, PORT: '0', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
    this.exit = new Promise((resolve) => {
      this.#process.once('close', (code, signal) => {
        resolve({ code, signal });
      });
    });
  }

  /** Resolves with its address when it listens. */
  async listening(): Promise<string> {
    const [, port] = await this.says(/http:\/\/localhost:(\d+)/);
    return `http://127.0.0.1:${port ?? ''}`;
  }

  /** Resolves when it has written this. */
  says(text: string | RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const said = new RegExp(text).exec(this.output);
        if (said) resolve(said);
      };
      this.#process.stdout.on('data', look);
      look();
      void this.exit.then(() => {
        reject(new Error(`it ended without writing ${String(text)}:\n${this.output}`));
      });
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }
}
