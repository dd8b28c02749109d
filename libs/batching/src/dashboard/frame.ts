import type { Dispatch, DispatchReason } from '../core/dispatch/dispatch-policy.js';

/** What the server sends to the page; both compile this file. All times are milliseconds on the server's clock. */
export interface Frame {
  /** Another one means another process: what was shown before is of no use. */
  epoch: string;
  /** Grows with each frame. */
  number: number;
  now: number;
  /** Milliseconds between two frames while something happens. */
  period: number;
  /** Whether `ended` is all of the last seconds, and not only what has ended since the frame before. */
  isWhole: boolean;
  /** Whether settings may be changed. */
  tune: boolean;
  queues: QueueFrame[];
  /** `null` in an application that has nothing to do with other nodes. */
  transport: TransportFrame | null;
}

/** The transport to other nodes, as this process knows it. */
export interface TransportFrame {
  /** `redis`, `nats` or another. */
  name: string;
  isConnected: boolean;
  /** Whether this process takes no more inputs of others. */
  isDraining: boolean;
  /** Those that it calls or serves. */
  services: ServiceFrame[];
}

export interface ServiceFrame {
  service: string;
  /** Inputs that wait in the broker. */
  waiting: number;
  /** Calls of this process that have not ended. */
  calls: number;
  nodes: NodeFrame[];
}

/** A node that serves a service. */
export interface NodeFrame {
  /** Host and process. */
  node: string;
  isOwn: boolean;
  /** Inputs that it may have at once. */
  prefetch: number;
  /** Inputs that it has. */
  inProgress: number;
  /** Inputs that it was given after another node had them. */
  redelivered: number;
}

export interface QueueFrame {
  /** Name of the process or machine that runs the batches. */
  node: string;
  name: string;
  /** Nodes that its inputs are sent to, which batch them; `null` if they are batched here. */
  sentTo: string[] | null;
  /** `started`, unless it is not yet or no longer. */
  state: string;
  settings: Settings;
  /** Those at the start of the process, or none if the queue's settings cannot be changed here. */
  initial: Knobs | null;
  /** Rows of the timeline. */
  slots: number;
  waiting: number;
  /** Inputs in the batches that run. */
  running: number;
  runningBatches: number;
  /** Batches that run, as far as they are drawn. */
  started: StartedBatch[];
  ended: EndedBatches[];
  figures: Figures;
}

/** Settings that may be changed on the page. */
export interface Knobs {
  /** `null` is no limit here and below, which JSON has no number for. */
  batchSize: number | null;
  maxDelay: number | null;
  dispatch: Dispatch;
}

export interface Settings extends Knobs {
  concurrency: number | null;
  maxQueued: number | null;
}

export const KNOBS = ['batchSize', 'maxDelay', 'dispatch'] as const satisfies readonly (keyof Knobs)[];

/** What a knob may be set to. */
export const LIMITS = {
  batchSize: { least: 1, most: 65_536 },
  maxDelay: { least: 0, most: 60_000 },
} as const;
export const DISPATCHES = ['adaptive', 'fixed', 'eager'] as const satisfies readonly Dispatch[];

/** In the order of their numbers in a frame. */
export const REASONS = ['size', 'delay', 'idle', 'drain'] as const satisfies readonly DispatchReason[];

export type StartedBatch = [
  /** Its number in its queue. */
  id: number,
  /** From 0. */
  slot: number,
  start: number,
  waited: number,
  size: number,
  /** Index in `REASONS`. */
  reason: number,
];

/** One batch, or, where there are too many to tell apart, batches that ran one after another in one slot. */
export type EndedBatches = [
  /** Number of the first in its queue. */
  id: number,
  slot: number,
  start: number,
  /** From the start of the first to the end of the last. */
  took: number,
  /** Longest wait. */
  waited: number,
  /** Inputs of all. */
  size: number,
  /** Index in `REASONS`, of most of them. */
  reason: number,
  /** Callers that got an error, those that gave up left out. */
  errors: number,
  /** Number of batches. */
  count: number,
  /** Milliseconds that they ran, together. */
  ran: number,
];

/** Figures of the batches that have ended within one window of time, and of what was dropped in it. */
export interface Figures {
  /** Milliseconds of the window, up to now. */
  span: number;
  /** Whether the window begins with a change of the settings. */
  isSinceChange: boolean;
  batches: number;
  inputs: number;
  results: number;
  /** Inputs that ran and ended in an error, for a caller that was still there. */
  errors: number;
  /** Inputs whose caller has left while they ran. */
  aborted: number;
  /** Batches by reason, in the order of `REASONS`. */
  reasons: number[];
  /** Inputs that were dropped before they ran. */
  drops: Record<'aborted' | 'timeout' | 'full' | 'stopped', number>;
  /** Milliseconds per input. The means of `wait` and `run` add up to that of `total`. */
  wait: Distribution;
  run: Distribution;
  total: Distribution;
  /** Share of the slots' time in which a batch ran, 0 to 1; `null` without a limit of slots. */
  busy: number | null;
}

export interface Distribution {
  mean: number;
  p50: number;
  p99: number;
}
