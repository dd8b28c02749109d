import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { type BatchReport, BatchingRegistry } from 'nest-batching';

/** A batch that has run. */
export type PastBatch = Pick<BatchReport, 'queue' | 'size' | 'reason' | 'waited' | 'ran'> & {
  /** When it ended, in milliseconds since 1970. */
  at: number;
};

/** Batches remembered, at least. */
const CAPACITY = 4096;

/** Remembers the last batches of all queues, so that each viewer gets all of them, also after a short break. */
@Injectable()
export class BatchHistory implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #recent: PastBatch[] = [];
  #count = 0;
  #stopListening: (() => void) | undefined;

  constructor(private readonly registry: BatchingRegistry) {}

  onApplicationBootstrap(): void {
    this.#stopListening = this.registry.onBatch(({ queue, size, reason, waited, ran }) => {
      this.#count++;
      this.#recent.push({ queue, size, reason, waited, ran, at: Date.now() });
      if (this.#recent.length > 2 * CAPACITY) this.#recent.splice(0, CAPACITY);
    });
  }

  onApplicationShutdown(): void {
    this.#stopListening?.();
  }

  /** The number of the last batch; the first is 1. */
  get last(): number {
    return this.#count;
  }

  /** The batches after that number, oldest first; those that are forgotten already are left out. */
  since(number: number): PastBatch[] {
    const count = this.#count - number;
    return count > 0 ? this.#recent.slice(-count) : [];
  }
}
