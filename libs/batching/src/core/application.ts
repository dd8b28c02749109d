import type { BatchQueue } from './batch-queue.js';
import type { BatchReport, QueueStats } from './stats.js';

// What entry points know of each other. They meet through injection tokens and symbols and not through
// imports, because an application may load this library twice, as ESM and as CommonJS.

/** Injection token of the application's `BatchingRegistry`; a string, since some messages of Nest cannot print a symbol. */
export const REGISTRY = 'BatchingRegistry of nest-batching';

/** The part of `BatchingRegistry` that other entry points use. */
export interface ApplicationQueues {
  list(): string[];
  get(name: string): BatchQueue<unknown, unknown>;
  stats(): QueueStats[];
  onBatch(listener: (report: BatchReport) => void): () => void;
  stop(): Promise<void>;
  /** Carries trace context between nodes from now on, unless the application's options say how. */
  propagate(trace: ContextPropagation): void;
  /** `undefined` without a transport to other nodes. */
  transport(): TransportReport | undefined;
}

/** Takes context out of a caller's async context, and puts it into that of the node that runs its input. */
export interface ContextPropagation {
  inject(): Readonly<Record<string, string>> | undefined;
  extract<T>(carrier: Readonly<Record<string, string>>, submit: () => T): T;
}

/** What a transport to other nodes reports, for metrics and health checks. */
export interface TransportReport {
  /** `redis`, `nats` or another. */
  readonly transport: string;
  /** The name of this node. */
  readonly node: string;
  /** Whether the broker can be reached. */
  readonly connected: boolean;
  /** Whether this node has stopped taking inputs. */
  readonly draining: boolean;
  readonly services: readonly ServiceReport[];
}

/** A service that is called or served over a transport, as this node knows it. */
export interface ServiceReport {
  readonly service: string;
  /** The nodes that serve it. */
  readonly nodes: readonly NodeReport[];
  /** Inputs that wait in the broker. */
  readonly waiting: number;
  /** Calls of this node that have not ended. */
  readonly calls: number;
}

/** A node that serves a service. */
export interface NodeReport {
  readonly node: string;
  readonly host: string;
  readonly pid: number;
  /** Inputs that it may have at once. */
  readonly prefetch: number;
  /** Inputs that it has. */
  readonly inProgress: number;
  /** Inputs that it was given after another node had them. */
  readonly redelivered: number;
}

/** Key of the report that a provided model has, whatever runs it. */
export const MODEL_REPORT = Symbol.for('nest-batching:model report');

/** What a model reports of itself, for metrics and health checks. */
export interface ModelReport {
  readonly name: string;
  /** Name of the runtime's Nest module: `TfjsModule`. */
  readonly runtime: string;
  /** Why it takes no inputs now; `undefined` if it does. */
  readonly problem: string | undefined;
  /** Batches that ran, and the milliseconds that each step has taken, summed over them. */
  readonly batches: number;
  readonly inputs: number;
  readonly steps: Readonly<Record<string, number>>;
  /** Times that a worker of its runtime was started again. */
  readonly restarts: number;
  /** Memory of all models of the runtime together. */
  memory(): Promise<{ readonly tensors: number; readonly bytes: number }>;
}

/** @returns the report of a provided instance, if it is a model */
export function modelReportOf(instance: unknown): ModelReport | undefined {
  if (typeof instance !== 'object' || instance === null) return undefined;
  return (instance as { readonly [MODEL_REPORT]?: ModelReport })[MODEL_REPORT];
}
