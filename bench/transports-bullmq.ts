import { Queue, QueueEvents, Worker } from 'bullmq';
import { BatchQueue } from 'nest-batching/core';
import {
  BATCH_SIZE,
  LOST_AFTER,
  MAX_DELAY,
  PREFETCH,
  REDELIVER_AFTER,
  type System,
} from './transports-load.js';

const NAME = 'numbers';

/** BullMQ with `waitUntilFinished`, and a queue of this library in the processor, as in docs/recipes.md. */
export const bullmq: System = {
  web: async (url) => {
    const connection = { url };
    const queue = new Queue<string, number>(NAME, { connection });
    const events = new QueueEvents(NAME, { connection });
    // Each call that waits is a listener.
    for (const emitter of [queue, events]) emitter.setMaxListeners(0);
    await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
    // Kept for a while: a job that is gone cannot be waited for.
    const options = { removeOnComplete: 5_000, removeOnFail: 5_000 };
    return async (input) => {
      const job = await queue.add('number', input.toString('base64'), options);
      return job.waitUntilFinished(events, LOST_AFTER);
    };
  },
  model: async (url, run) => {
    const batches = new BatchQueue(run, { batchSize: BATCH_SIZE, maxDelay: MAX_DELAY });
    const worker = new Worker<string, number>(
      NAME,
      ({ data }) => batches.submit(Buffer.from(data, 'base64')),
      {
        connection: { url },
        concurrency: PREFETCH,
        lockDuration: REDELIVER_AFTER,
        stalledInterval: REDELIVER_AFTER,
        maxStalledCount: 5,
      },
    );
    await worker.waitUntilReady();
  },
};
