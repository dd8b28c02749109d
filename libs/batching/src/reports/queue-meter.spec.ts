import { describe, expect, it } from '@jest/globals';
import { BatchQueue } from '../core/batch-queue.js';
import { QueueMeter } from './queue-meter.js';

describe('QueueMeter', () => {
  it('takes a full batch to be what the present settings allow', () => {
    const queue = new BatchQueue((xs: number[]) => xs, { name: 'queue', batchSize: 4, maxDelay: 0 });
    const meter = new QueueMeter(1000, 0);
    const record = (size: number, reason: 'size' | 'idle') => {
      // A batch takes hardly longer if it has more inputs.
      const ran = 10 + size / 100;
      meter.record({ queue: 'queue', size, reason, ran, waited: 0, results: size, errors: 0 });
    };
    let now = 0;
    const replicas = () => {
      const stats = { ...queue.stats(), submitted: 1000, runningBatches: 1 };
      return meter.read(queue as BatchQueue<unknown, unknown>, stats, 0, 100, (now += 1)).replicas ?? NaN;
    };
    for (let batch = 0; batch < 20; batch++) record(4, 'size');
    for (let batch = 0; batch < 20; batch++) record(1 + (batch % 4), 'idle');
    const small = replicas() * now;
    queue.batchSize = 64;
    expect(small / (replicas() * now)).toBeGreaterThan(4);
    // It left before.
    record(4, 'size');
    expect(small / (replicas() * now)).toBeGreaterThan(4);
    // Costs or groups end batches below `batchSize`.
    for (let batch = 0; batch < 10; batch++) record(8, 'size');
    const ratio = small / (replicas() * now);
    expect(ratio).toBeGreaterThan(1.5);
    expect(ratio).toBeLessThan(3);
  });
});
