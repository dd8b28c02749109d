/** What the replicas of `npm run bench autoscale` and the one that drives them agree on. Times are milliseconds. */

/** A batch of n takes ALPHA · n + BETA. */
export const ALPHA = 4;
export const BETA = 60;
export const BATCH_SIZE = 16;
export const MAX_QUEUED = 64;
/** 99 of 100 inputs are to be answered within this time. */
export const AIM = 400;
/** Inputs per second of a replica with full batches. */
export const CAPACITY = (1000 * BATCH_SIZE) / (ALPHA * BATCH_SIZE + BETA);

export type ToReplica = { input: number } | { read: true } | { stop: true };
export type FromReplica = { ready: true } | { input: number; ok: boolean } | Reading;

/** What a replica says of itself, as a scrape would find it. */
export interface Reading {
  /** `batching_replicas_needed` */
  needed: number;
  /** Inputs that wait. */
  waiting: number;
  /** Share of a core. */
  cpu: number;
}
