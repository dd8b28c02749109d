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
      return (
        meter.read(queue as BatchQueue<unknown, unknown>, stats, undefined, 100, (now += 1)).replicas ?? NaN
      );
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

  it('counts what piles up in a broker when it comes, however many nodes share it, and what is there already never', () => {
    const queue = new BatchQueue((xs: number[]) => xs, { name: 'queue', batchSize: 4, maxDelay: 0 });
    const meters = [new QueueMeter(1000, 0)];
    const taken = [0, 0, 0];
    // Each takes one input per millisecond, in batches of 4 that run for 2 ms, and is read every 100 ms.
    const rates = (now: number, waiting: number) =>
      meters.map((meter, index) => {
        const submitted = (taken[index] = (taken[index] ?? 0) + 100);
        const ran = {
          queue: 'queue',
          size: 4,
          reason: 'size',
          ran: 2,
          waited: 0,
          results: 4,
          errors: 0,
        } as const;
        for (let batch = 0; batch < 25; batch++) meter.record(ran);
        const stats = { ...queue.stats(), submitted };
        const backlog = { waiting, nodes: meters.length };
        return meter.read(queue as BatchQueue<unknown, unknown>, stats, backlog, 1000, now).replicas ?? NaN;
      });
    const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
    // Three inputs per millisecond come, and two of them wait.
    let now = 0;
    let waiting = 0;
    let alone = 0;
    while (now < 5000) alone = sum(rates((now += 100), (waiting += 200)));
    // Two more nodes come: all that comes is taken, and what waits stays.
    meters.push(new QueueMeter(1000, now), new QueueMeter(1000, now));
    for (let reading = 0; reading < 20; reading++) {
      const all = rates((now += 100), waiting);
      expect(sum(all) / alone).toBeGreaterThan(0.9);
      // For the window in which two nodes have it already and the first one's own has not passed yet.
      expect(sum(all) / alone).toBeLessThan(1.7);
      if (reading >= 10) for (const one of all) expect(one / (alone / 3)).toBeCloseTo(1, 1);
    }
  });
});
