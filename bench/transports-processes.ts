import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { type Load, type Role, type Seen, type Usage } from './transports-load.js';
import type { SystemName } from './transports-systems.js';

/** Milliseconds that a batch takes. */
export const RUN_MS = 5;

/** Processes of one system that meet over one broker. */
export class Processes {
  readonly webs: ChildProcess[] = [];
  readonly models: ChildProcess[] = [];
  readonly #all = new Set<ChildProcess>();

  private constructor(
    private readonly system: SystemName,
    private readonly url: string,
  ) {}

  /** Two that call and two that serve; of the system `local`, two that do both. */
  static async start(system: SystemName, url = ''): Promise<Processes> {
    const processes = new Processes(system, url);
    try {
      const twice = (role: Role) =>
        Promise.all([processes.#start(role, RUN_MS), processes.#start(role, RUN_MS)]);
      if (system === 'local') {
        processes.webs.push(...(await twice('local')));
      } else {
        const [models, webs] = await Promise.all([twice('model'), twice('web')]);
        processes.models.push(...models);
        processes.webs.push(...webs);
      }
    } catch (error) {
      await processes.end();
      throw error;
    }
    return processes;
  }

  /** Kills the oldest model process. */
  async killModel(): Promise<void> {
    await this.#kill(this.models.splice(0, 1));
  }

  async startModel(runMs = RUN_MS): Promise<void> {
    this.models.push(await this.#start('model', runMs));
  }

  /** Has so many callers of each web process send. */
  send(load: Load, webs: readonly ChildProcess[] = this.webs): Promise<Seen[]> {
    return Promise.all(webs.map((web) => ask<Seen>(web, load)));
  }

  /** The same, with what all processes have used meanwhile. @throws Error if an answer was wrong or missing: its speed means nothing */
  async measure(load: Load): Promise<Measured> {
    const before = await this.#usage();
    const seen = await this.send(load);
    const after = await this.#usage();
    const bad = seen.find(({ wrong, errors }) => wrong > 0 || Object.keys(errors).length > 0);
    if (bad) {
      throw new Error(
        `${this.system}: ${bad.wrong} wrong answers, and errors: ${JSON.stringify(bad.errors)}`,
      );
    }
    const answers = seen.reduce((sum, each) => sum + each.answers, 0);
    return {
      perSecond: seen.reduce((sum, each) => sum + each.perSecond, 0),
      p50: seen[0]?.p50 ?? NaN,
      cpu: (1_000 * (after.cpu - before.cpu)) / answers,
      batch: (after.inputs - before.inputs) / (after.batches - before.batches),
    };
  }

  /** The same for one caller of one process. */
  async roundTrip(milliseconds: number, size: number): Promise<number> {
    const [seen] = await this.send({ callers: 1, milliseconds, size }, this.webs.slice(0, 1));
    return seen?.p50 ?? NaN;
  }

  async end(): Promise<void> {
    await this.#kill([...this.#all]);
  }

  async #usage(): Promise<Usage> {
    const sum: Usage = { cpu: 0, batches: 0, inputs: 0 };
    for (const { cpu, batches, inputs } of await Promise.all(
      Array.from(this.#all, (child) => ask<Usage>(child, 'usage')),
    )) {
      sum.cpu += cpu;
      sum.batches += batches;
      sum.inputs += inputs;
    }
    return sum;
  }

  async #start(role: Role, runMs: number): Promise<ChildProcess> {
    const { system: SYSTEM, url: BROKER_URL } = this;
    const child = fork(new URL('transports-node.ts', import.meta.url), {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, ROLE: role, SYSTEM, BROKER_URL, RUN_MS: String(runMs) },
    });
    this.#all.add(child);
    const ended = once(child, 'exit').then(() => {
      throw new Error(`a process of ${SYSTEM} has ended while it started`);
    });
    await Promise.race([once(child, 'message'), ended]);
    ended.catch(() => undefined);
    return child;
  }

  async #kill(children: readonly ChildProcess[]): Promise<void> {
    await Promise.all(
      children.map(async (child) => {
        this.#all.delete(child);
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exit = once(child, 'exit');
        child.kill('SIGKILL');
        await exit;
      }),
    );
  }
}

/** What was seen of one load. */
export interface Measured {
  perSecond: number;
  /** Milliseconds. */
  p50: number;
  /** Microseconds of CPU of all processes but the broker, for an input. */
  cpu: number;
  /** Inputs of a batch, mean. */
  batch: number;
}

async function ask<Reply>(child: ChildProcess, message: Load | 'usage'): Promise<Reply> {
  const reply = once(child, 'message');
  child.send(message);
  return ((await reply) as [Reply])[0];
}
