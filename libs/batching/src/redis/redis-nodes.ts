import { hostname } from 'node:os';
import type { NodeState } from '../transport/transport.js';

/** How a node serves a service. */
interface Served {
  readonly prefetch: number;
  readonly inProgress: number;
  readonly redelivered: number;
  readonly maxQueued: number;
}

interface KnownNode {
  readonly node: string;
  readonly host: string;
  readonly pid: number;
  /** Milliseconds since its last sign of life, when it was read. */
  readonly silence: number;
  readonly services: ReadonlyMap<string, Served>;
}

interface Line {
  readonly entries: number;
  readonly pending: number;
}

/** What a node says of itself. Short names, and whole numbers: it is written several times a second. */
export function writeNode(services: ReadonlyMap<string, Served>): string {
  const list = Array.from(services, ([name, { prefetch, inProgress, redelivered, maxQueued }]) => [
    name,
    [prefetch, inProgress, redelivered, Number.isFinite(maxQueued) ? maxQueued : -1],
  ]);
  return JSON.stringify({ host: hostname(), pid: process.pid, services: Object.fromEntries(list) as object });
}

/** The nodes and what waits, as they were read last. What cannot be read is left out: another version may have written it. */
export class RedisNodes {
  #nodes: KnownNode[] = [];
  #lines = new Map<string, Line>();
  /** Time of Redis minus `performance.now()`, ms; `undefined` before the first reading. */
  #offset: number | undefined;

  constructor(private readonly redeliverAfter: number) {}

  get isKnown(): boolean {
    return this.#offset !== undefined;
  }

  /**
   * Takes a reply of the script BEAT.
   *
   * @returns whether the stream of answers is there
   */
  read(reply: unknown, services: readonly string[], askedAt: number): boolean {
    const [time, hasAnswers, nodes, lines] = reply as [number, number, unknown[], number[]];
    // The reply is of some moment between the question and now.
    this.#offset = time - (askedAt + performance.now()) / 2;
    this.#nodes = [];
    for (let index = 0; index + 2 < nodes.length; index += 3) {
      const [name, silence, text] = nodes.slice(index, index + 3);
      const node = readNode(String(name), Number(silence), String(text));
      if (node) this.#nodes.push(node);
    }
    this.#lines = new Map(
      services.map((service, index) => {
        const [entries = 0, pending = 0] = lines.slice(2 * index, 2 * index + 2);
        return [service, { entries, pending }];
      }),
    );
    return hasAnswers === 1;
  }

  /** Milliseconds since an entry was added, by its id. */
  ageOf(id: string): number {
    if (this.#offset === undefined) return 0;
    return Math.max(0, performance.now() + this.#offset - Number.parseInt(id, 10));
  }

  /** The nodes that serve a service and are alive. */
  of(service: string): NodeState[] {
    return this.#alive(service).map(({ node, host, pid, services }) => {
      const { prefetch = 0, inProgress = 0, redelivered = 0 } = services.get(service) ?? {};
      return { node, host, pid, prefetch, inProgress, redelivered };
    });
  }

  hasAny(service: string): boolean {
    return this.#alive(service).length > 0;
  }

  /** Inputs that may be in the broker: those that nodes have, and those that may wait. `Infinity` while no node is known. */
  bound(service: string): { entries: number; maxQueued: number } {
    let entries = 0;
    let sum = 0;
    for (const { services } of this.#alive(service)) {
      const { maxQueued = 0, prefetch = 0 } = services.get(service) ?? {};
      entries += maxQueued + prefetch;
      sum += maxQueued;
    }
    return sum === 0 ? { entries: Infinity, maxQueued: Infinity } : { entries, maxQueued: sum };
  }

  /** Inputs that wait and that no node has taken. */
  waiting(service: string): number {
    const { entries = 0, pending = 0 } = this.#lines.get(service) ?? {};
    return Math.max(0, entries - pending);
  }

  /**
   * Milliseconds until the first of the other nodes counts as dead, if it stays silent; 0 if one does, `Infinity` if there
   * is none.
   */
  untilSilent(own: string): number {
    const left = this.#nodes
      .filter(({ node }) => node !== own)
      .map(({ silence }) => this.redeliverAfter - silence);
    return Math.max(0, Math.min(Infinity, ...left));
  }

  #alive(service: string): KnownNode[] {
    return this.#nodes.filter((node) => node.silence <= this.redeliverAfter && node.services.has(service));
  }
}

function readNode(node: string, silence: number, text: string): KnownNode | undefined {
  try {
    const { host, pid, services } = JSON.parse(text) as Record<string, unknown>;
    if (typeof services !== 'object' || services === null) return undefined;
    const served = Object.entries(services).flatMap(([name, numbers]): [string, Served][] => {
      if (!Array.isArray(numbers) || !numbers.every((each) => Number.isFinite(each))) return [];
      const [prefetch = 1, inProgress = 0, redelivered = 0, maxQueued = -1] = numbers as number[];
      return [[name, { prefetch, inProgress, redelivered, maxQueued: maxQueued < 0 ? Infinity : maxQueued }]];
    });
    return { node, host: String(host), pid: Number(pid), silence, services: new Map(served) };
  } catch {
    return undefined;
  }
}
