import type { NodeState } from './transport.js';

// What nodes say of the services that they serve, and what follows from it, the same over every broker.

/** How a node serves a service. */
export interface Served {
  readonly prefetch: number;
  readonly inProgress: number;
  readonly redelivered: number;
  readonly maxQueued: number;
  /** Inputs of the service that wait in the broker, where the node knows it. */
  readonly waiting?: number;
}

/** A node, by what it has said of itself. */
export interface ServingNode {
  readonly node: string;
  readonly host: string;
  readonly pid: number;
  readonly services: ReadonlyMap<string, Served>;
}

/** For JSON. Short, as it is sent several times a second. */
export function writeServices(services: ReadonlyMap<string, Served>): Record<string, number[]> {
  return Object.fromEntries(
    Array.from(services, ([name, { prefetch, inProgress, redelivered, maxQueued, waiting }]) => [
      name,
      [
        prefetch,
        inProgress,
        redelivered,
        Number.isFinite(maxQueued) ? maxQueued : -1,
        ...(waiting === undefined ? [] : [waiting]),
      ],
    ]),
  );
}

/** @returns the services; without those that cannot be read, as another version may have written them, and `undefined` if none can */
export function readServices(services: unknown): Map<string, Served> | undefined {
  if (typeof services !== 'object' || services === null) return undefined;
  const served = Object.entries(services).flatMap(([name, numbers]): [string, Served][] => {
    if (!Array.isArray(numbers) || !numbers.every((each) => Number.isFinite(each))) return [];
    const [prefetch = 1, inProgress = 0, redelivered = 0, maxQueued = -1, waiting = 0] = numbers as number[];
    return [
      [name, { prefetch, inProgress, redelivered, maxQueued: maxQueued < 0 ? Infinity : maxQueued, waiting }],
    ];
  });
  return new Map(served);
}

export function stateOf({ node, host, pid, services }: ServingNode, service: string): NodeState {
  const { prefetch = 0, inProgress = 0, redelivered = 0 } = services.get(service) ?? {};
  return { node, host, pid, prefetch, inProgress, redelivered };
}

/**
 * Messages of a service that may be in the broker, one for an input: those that its nodes have, and of them those that may wait. `Infinity`
 * while no node is known.
 */
export function boundOf(
  nodes: readonly ServingNode[],
  service: string,
): { messages: number; maxQueued: number } {
  if (nodes.length === 0) return { messages: Infinity, maxQueued: Infinity };
  const sum = { messages: 0, maxQueued: 0 };
  for (const { services } of nodes) {
    const { maxQueued = 0, prefetch = 0 } = services.get(service) ?? {};
    sum.messages += maxQueued + prefetch;
    sum.maxQueued += maxQueued;
  }
  return sum;
}
