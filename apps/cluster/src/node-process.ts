import { type ChildProcess, fork } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Order, Progress, Report } from './messages.js';

/** Longest that a node may take to start, and to end, in milliseconds. */
const START_TIMEOUT = 60_000;
const END_TIMEOUT = 10_000;

export type Role = 'web' | 'model';

/** A node as a process of its own. Emits `progress` with each report of a web node, and `died` when it ended by itself. */
export class NodeProcess extends EventEmitter<{ progress: [Progress]; died: [Error] }> {
  readonly #process: ChildProcess;
  readonly #exit: Promise<unknown>;
  #errors = '';
  #isEnding = false;

  constructor(
    readonly role: Role,
    environment: Readonly<Record<string, string>>,
  ) {
    super();
    this.#process = fork(new URL(`${role}-node.js`, import.meta.url), {
      env: { PATH: process.env.PATH, ...environment },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      // Ctrl+C in a terminal reaches every process of its group; the cluster ends its nodes itself.
      detached: true,
    });
    this.#exit = once(this.#process, 'exit');
    this.#process.stderr?.on('data', (chunk: Buffer) => (this.#errors += chunk.toString()));
    this.#process.on('message', (report: Report) => {
      if (report !== 'started') this.emit('progress', report);
    });
    this.#process.once('exit', (code, signal) => {
      const how = signal ?? `code ${code}`;
      const error = new Error(`a ${this.role} node ended with ${how}:\n${this.#errors}`);
      if (!this.#isEnding) this.emit('died', error);
    });
  }

  /** Resolves when it takes calls or inputs. */
  async started(): Promise<this> {
    const inTime = AbortSignal.timeout(START_TIMEOUT);
    const died = once(this, 'died', { signal: inTime }).then(([error]) => Promise.reject(error as Error));
    await Promise.race([once(this.#process, 'message', { signal: inTime }), died]).catch((error: unknown) => {
      if (!inTime.aborted) throw error;
      throw new Error(`a ${this.role} node has not started within ${START_TIMEOUT} ms:\n${this.#errors}`);
    });
    return this;
  }

  order(order: Order): void {
    this.#process.send(order);
  }

  /** As a crash ends it: at once, whatever it is doing. */
  async kill(): Promise<void> {
    this.#isEnding = true;
    this.#process.kill('SIGKILL');
    await this.#exit;
  }

  /** As an orchestrator ends it: a SIGTERM, and after some time a SIGKILL. */
  async end(): Promise<void> {
    this.#isEnding = true;
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGTERM');
    await Promise.race([this.#exit, sleep(END_TIMEOUT, undefined, { ref: false })]);
    await this.kill();
  }
}
