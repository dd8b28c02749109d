import { hostname } from 'node:os';
import {
  boundOf,
  readServices,
  type Served,
  type ServingNode,
  stateOf,
  writeServices,
} from '../transport/served-services.js';
import type { NodeState } from '../transport/transport.js';

interface KnownNode extends ServingNode {
  /** Milliseconds since its last sign of life, when it was read. */
  readonly silence: number;
}

interface Line {
  readonly entries: number;
  readonly pending: number;
}

/** What a node says of itself. Short names, and whole numbers: it is written several times a second. */
export function writeNode(services: ReadonlyMap<string, Served>): string {
  return JSON.stringify({ host: hostname(), pid: process.pid, services: writeServices(services) });
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
    return this.#alive(service).map((node) => stateOf(node, service));
  }

  hasAny(service: string): boolean {
    return this.#alive(service).length > 0;
  }

  bound(service: string): { messages: number; maxQueued: number } {
    return boundOf(this.#alive(service), service);
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
    const served = readServices(services);
    return served && { node, host: String(host), pid: Number(pid), silence, services: served };
  } catch {
    return undefined;
  }
}
