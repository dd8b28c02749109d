import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { Broker } from './broker.js';
import type { Progress } from './messages.js';
import { NodeProcess, type Role } from './node-process.js';

/**
 * Callers of each web node. All of them together are more than the model nodes may have at once (three batches of 64 each), so
 * that a node that is killed has inputs.
 */
export const CALLERS = 256;

/** What the web nodes have seen together. */
export interface Totals extends Omit<Progress, 'redelivered' | 'isDone'> {
  readonly redelivered: number;
}

/** Two web nodes and two model nodes as processes on this machine. */
export class Cluster {
  readonly #environment: Readonly<Record<string, string>>;
  readonly #webs: NodeProcess[] = [];
  /** The oldest first. */
  readonly #models: NodeProcess[] = [];
  readonly #seen = new Map<NodeProcess, Progress>();
  /** Kept, since nobody reports what dead nodes were given. */
  readonly #redelivered = new Map<string, number>();

  /** @param onDeath called with an error when a node has ended by itself */
  constructor(
    { url }: Broker,
    private readonly onDeath: (error: Error) => void,
  ) {
    // Others may use a broker that was given.
    const prefix = `cluster-${randomUUID()}`;
    this.#environment = {
      BROKER_URL: url,
      PREFIX: prefix,
      PORT: '0',
      BACKEND: 'wasm',
      WORKERS: '1',
      LOG_LEVEL: 'error',
      LOG_FORMAT: 'text',
      SHUTDOWN_DELAY: '0',
    };
  }

  async start(): Promise<void> {
    const roles = ['web', 'web', 'model', 'model'] as const;
    await Promise.all(roles.map((role) => this.#start(role)));
  }

  /** Begins to send digits through both web nodes. */
  send(): void {
    for (const web of this.#webs) web.order({ callers: CALLERS });
  }

  /** Kills the older model node with SIGKILL, and starts another in its place. Resolves when that has started. */
  async replaceModelNode(): Promise<void> {
    await this.#models.shift()?.kill();
    await this.#start('model');
  }

  /** Ends the sending. Resolves when every call has ended. */
  async finish(): Promise<void> {
    for (const web of this.#webs) web.order('end');
    await Promise.all(this.#webs.map((web) => this.#isDone(web)));
  }

  get totals(): Totals {
    const seen = [...this.#seen.values()];
    const errors: Record<string, number> = {};
    for (const [code, count] of seen.flatMap((each) => Object.entries(each.errors))) {
      errors[code] = (errors[code] ?? 0) + count;
    }
    return {
      answers: sum(seen.map(({ answers }) => answers)),
      right: sum(seen.map(({ right }) => right)),
      errors,
      longestGap: Math.max(0, ...seen.map(({ longestGap }) => longestGap)),
      longestWait: Math.max(0, ...seen.map(({ longestWait }) => longestWait)),
      redelivered: sum([...this.#redelivered.values()]),
    };
  }

  /** Ends every node. */
  async stop(): Promise<void> {
    // Web nodes first: their callers have all been answered, or nobody waits for them any more.
    for (const nodes of [this.#webs, this.#models]) await Promise.all(nodes.map((node) => node.end()));
  }

  async #start(role: Role): Promise<void> {
    const node = new NodeProcess(role, this.#environment);
    (role === 'web' ? this.#webs : this.#models).push(node);
    node.once('died', this.onDeath);
    node.on('progress', (progress) => {
      this.#seen.set(node, progress);
      for (const [name, redelivered] of Object.entries(progress.redelivered)) {
        this.#redelivered.set(name, Math.max(redelivered, this.#redelivered.get(name) ?? 0));
      }
    });
    await node.started();
  }

  async #isDone(web: NodeProcess): Promise<void> {
    while (!this.#seen.get(web)?.isDone) await once(web, 'progress');
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
