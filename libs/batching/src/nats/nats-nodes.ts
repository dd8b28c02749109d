import { hostname } from 'node:os';
import type { NodeState } from '../transport/transport.js';

/** How a node serves a service. */
export interface Served {
  readonly prefetch: number;
  readonly inProgress: number;
  readonly redelivered: number;
  readonly maxQueued: number;
  /** Inputs of the service that wait in the broker, as the node knows. */
  readonly waiting: number;
}

interface KnownNode {
  readonly node: string;
  readonly host: string;
  readonly pid: number;
  /** When it has last given a sign of life, on the clock of `performance.now()`. */
  readonly seenAt: number;
  readonly services: ReadonlyMap<string, Served>;
}

/** What a node says of itself. Short, as it is sent several times a second. */
export function writeBeat(node: string, services: ReadonlyMap<string, Served>): string {
  const list = Array.from(services, ([name, { prefetch, inProgress, redelivered, maxQueued, waiting }]) => [
    name,
    [prefetch, inProgress, redelivered, Number.isFinite(maxQueued) ? maxQueued : -1, waiting],
  ]);
  return JSON.stringify({
    node,
    host: hostname(),
    pid: process.pid,
    services: Object.fromEntries(list) as object,
  });
}

/** The nodes that serve something, by what they say of themselves. */
export class NatsNodes {
  readonly #nodes = new Map<string, KnownNode>();
  #since = performance.now();

  constructor(private readonly redeliverAfter: number) {}

  /** Milliseconds that nodes have been listened to. */
  get listenedFor(): number {
    return performance.now() - this.#since;
  }

  /** The connection was away, and so were the signs of life. */
  reset(): void {
    this.#since = performance.now();
  }

  /** Takes a beat. What cannot be read is left out: another version may have written it. */
  take(beat: unknown): void {
    const now = performance.now();
    const node = readBeat(beat, now);
    if (!node) return;
    if (node.services.size > 0) this.#nodes.set(node.node, node);
    else this.#nodes.delete(node.node);
    for (const [name, { seenAt }] of this.#nodes) {
      if (now - seenAt > 10 * this.redeliverAfter) this.#nodes.delete(name);
    }
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
  bound(service: string): { messages: number; maxQueued: number } {
    let messages = 0;
    let sum = 0;
    for (const { services } of this.#alive(service)) {
      const { maxQueued = 0, prefetch = 0 } = services.get(service) ?? {};
      messages += maxQueued + prefetch;
      sum += maxQueued;
    }
    return messages === 0 ? { messages: Infinity, maxQueued: Infinity } : { messages, maxQueued: sum };
  }

  /** Inputs that wait and that no node has taken, by the latest beat. */
  waiting(service: string): number {
    let latest: KnownNode | undefined;
    for (const node of this.#alive(service)) if (!latest || node.seenAt > latest.seenAt) latest = node;
    return latest?.services.get(service)?.waiting ?? 0;
  }

  #alive(service: string): KnownNode[] {
    const now = performance.now();
    return [...this.#nodes.values()].filter(
      ({ seenAt, services }) => now - seenAt <= this.redeliverAfter && services.has(service),
    );
  }
}

function readBeat(beat: unknown, seenAt: number): KnownNode | undefined {
  const { node, host, pid, services } = (beat ?? {}) as Record<string, unknown>;
  if (typeof node !== 'string' || typeof services !== 'object' || services === null) return undefined;
  const served = Object.entries(services).flatMap(([name, numbers]): [string, Served][] => {
    if (!Array.isArray(numbers) || !numbers.every((each) => Number.isFinite(each))) return [];
    const [prefetch = 1, inProgress = 0, redelivered = 0, maxQueued = -1, waiting = 0] = numbers as number[];
    return [
      [name, { prefetch, inProgress, redelivered, maxQueued: maxQueued < 0 ? Infinity : maxQueued, waiting }],
    ];
  });
  return { node, host: String(host), pid: Number(pid), seenAt, services: new Map(served) };
}
