import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { findProgram, freePort } from './local-server.js';

export interface QueryResult {
  metric: Record<string, string>;
  value: [time: number, value: string];
}

/**
 * A Prometheus of one's own on loopback, on a port that was free, in a folder of its own, which scrapes one
 * target once a second. What it holds is gone when it stops.
 */
export class PrometheusServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
  #process: ChildProcessByStdio<null, null, Readable> | undefined;
  /** Jest may end a worker without its hooks. */
  readonly #kill = () => this.#process?.kill('SIGKILL');

  /**
   * @param target host and port of what it scrapes at `/metrics`
   * @param rules a file of alert rules
   */
  static async start(target: string, rules: string): Promise<PrometheusServer> {
    for (let attempt = 1; ; attempt++) {
      const server = new PrometheusServer(await freePort());
      try {
        await server.#listen(target, rules);
        return server;
      } catch (error) {
        await server.stop();
        // Another process may have taken the port in between.
        if (attempt === 3 || !String(error).includes('address already in use')) throw error;
      }
    }
  }

  private constructor(private readonly port: number) {}

  async query(expression: string): Promise<QueryResult[]> {
    const { result } = await this.#get<{ result: QueryResult[] }>(
      `query?query=${encodeURIComponent(expression)}`,
    );
    return result;
  }

  /** What it could not read of its targets. */
  async problems(): Promise<string[]> {
    const { activeTargets } = await this.#get<{ activeTargets: { lastError: string }[] }>('targets');
    return activeTargets.map(({ lastError }) => lastError).filter((problem) => problem !== '');
  }

  /** The rules that it has loaded, with what went wrong when they were evaluated. */
  async rules(): Promise<{ name: string; health: string; lastError?: string }[]> {
    const { groups } = await this.#get<{ groups: { rules: [] }[] }>('rules');
    return groups.flatMap(({ rules }) => rules);
  }

  async stop(): Promise<void> {
    const server = this.#process;
    process.off('exit', this.#kill);
    if (server?.exitCode === null && server.kill('SIGTERM')) {
      await new Promise((resolve) => server.once('close', resolve));
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #get<T>(path: string): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.port}/api/v1/${path}`);
    const { data, error } = (await response.json()) as { data: T; error?: string };
    if (error !== undefined) throw new Error(error);
    return data;
  }

  async #listen(target: string, rules: string): Promise<void> {
    const file = join(this.#folder, 'prometheus.yml');
    // JSON is YAML.
    const configuration = {
      global: { scrape_interval: '2s', evaluation_interval: '1s' },
      rule_files: [rules],
      scrape_configs: [{ job_name: 'app', static_configs: [{ targets: [target] }] }],
    };
    writeFileSync(file, JSON.stringify(configuration));
    const server = spawn(
      findProgram('prometheus') ?? 'prometheus',
      [
        `--config.file=${file}`,
        `--storage.tsdb.path=${join(this.#folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${this.port}`,
      ],
      { cwd: this.#folder, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    this.#process = server;
    process.once('exit', this.#kill);
    let log = '';
    await new Promise<void>((resolve, reject) => {
      server.stderr.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        if (log.includes('Server is ready to receive web requests')) resolve();
      });
      server.once('error', reject);
      server.once('close', () => {
        reject(new Error(`Prometheus ended:\n${log}`));
      });
    });
  }
}

/** Whether Prometheus and its promtool are here. If not, prints so, since silence would look like success. */
export function hasPrometheus(what: string): boolean {
  if (findProgram('prometheus') !== undefined && findProgram('promtool') !== undefined) return true;
  process.stderr.write(`SKIPPED: ${what}: Prometheus is not installed here (apt-get install prometheus)\n`);
  return false;
}
