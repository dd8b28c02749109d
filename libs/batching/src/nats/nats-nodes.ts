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
  /** When it has last given a sign of life, on the clock of `performance.now()`. */
  readonly seenAt: number;
}

/** What a node says of itself. Short, as it is sent several times a second. */
export function writeBeat(node: string, services: ReadonlyMap<string, Served>): string {
  return JSON.stringify({ node, host: hostname(), pid: process.pid, services: writeServices(services) });
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
    return this.#alive(service).map((node) => stateOf(node, service));
  }

  hasAny(service: string): boolean {
    return this.#alive(service).length > 0;
  }

  bound(service: string): { messages: number; maxQueued: number } {
    return boundOf(this.#alive(service), service);
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
  const served = readServices(services);
  if (typeof node !== 'string' || !served) return undefined;
  return { node, host: String(host), pid: Number(pid), seenAt, services: served };
}
