import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import type { ApplicationQueues, TransportReport } from '../core/application.js';
import { BatchQueue } from '../core/batch-queue.js';
import { ApplicationMetrics } from './application-metrics.js';
import type { MetricName, Samples } from './metrics.js';

function valueOf(samples: Samples, name: MetricName): number | undefined {
  return samples.get(name)?.[0]?.value;
}

function application(queue: BatchQueue<number, number>, transport?: TransportReport): ApplicationQueues {
  return {
    list: () => [queue.name],
    get: () => queue as BatchQueue<unknown, unknown>,
    stats: () => [queue.stats()],
    onBatch: (listener) => queue.onBatch(listener),
    propagate: () => undefined,
    stop: () => queue.stop(),
    transport: () => transport,
  };
}

function sleeping(): BatchQueue<number, number> {
  const run = async (xs: number[]): Promise<number[]> => {
    await sleep(2);
    return xs;
  };
  return new BatchQueue(run, { name: 'queue', batchSize: 4, maxDelay: 0 });
}

describe('ApplicationMetrics', () => {
  it('reads a transport, and counts what has piled up in the broker as arrived here, in equal shares', async () => {
    const common = { host: 'host', pid: 1, prefetch: 8, inProgress: 0 };
    const nodes = [
      { node: 'a', redelivered: 3, ...common },
      { node: 'b', redelivered: 4, ...common },
    ];
    const service = { service: 'queue', nodes, waiting: 0, calls: 5 };
    const transport = {
      transport: 'redis',
      node: 'a',
      connected: true,
      draining: false,
      services: [service],
    };
    const queue = sleeping();
    const metrics = new ApplicationMetrics(
      application(queue, transport),
      () => [],
      { slo: { p99: 100 } },
      () => undefined,
    );
    for (let batch = 0; batch < 10; batch++) await Promise.all(queue.submitMany([1, 2, 3, 4]));
    const before = await metrics.read();
    expect(valueOf(before, 'batching_transport_connected')).toBe(1);
    expect(valueOf(before, 'batching_transport_nodes')).toBe(2);
    expect(valueOf(before, 'batching_transport_calls')).toBe(5);
    expect(valueOf(before, 'batching_redelivered_total')).toBe(3);
    service.waiting = 100_000;
    const after = await metrics.read();
    expect(valueOf(after, 'batching_transport_waiting_items')).toBe(100_000);
    const needed = valueOf(before, 'batching_replicas_needed') ?? NaN;
    expect(valueOf(after, 'batching_replicas_needed')).toBeGreaterThan(100 * needed);
    await queue.stop();
  });

  it('takes no part of what piles up in the broker where it does not serve', async () => {
    const nodes = [{ node: 'a', redelivered: 3, host: 'host', pid: 1, prefetch: 8, inProgress: 0 }];
    const service = { service: 'queue', nodes, waiting: 0, calls: 5 };
    const queue = sleeping();
    const metrics = new ApplicationMetrics(
      application(queue, {
        transport: 'redis',
        node: 'web',
        connected: true,
        draining: false,
        services: [service],
      }),
      () => [],
      { slo: { p99: 100 } },
      () => undefined,
    );
    for (let batch = 0; batch < 10; batch++) await Promise.all(queue.submitMany([1, 2, 3, 4]));
    const before = await metrics.read();
    expect(before.has('batching_redelivered_total')).toBe(false);
    service.waiting = 100_000;
    const needed = valueOf(before, 'batching_replicas_needed') ?? NaN;
    expect(valueOf(await metrics.read(), 'batching_replicas_needed')).toBeLessThan(2 * needed);
    await queue.stop();
  });

  it('counts callers that gave up while their input ran apart from errors', async () => {
    const queue = sleeping();
    const metrics = new ApplicationMetrics(
      application(queue),
      () => [],
      {},
      () => undefined,
    );
    const leaving = new AbortController();
    const results = [queue.submit(1, { signal: leaving.signal }), queue.submit(2)];
    while (queue.stats().runningBatches === 0) await sleep(0);
    leaving.abort();
    await Promise.allSettled(results);
    const ended = (await metrics.read()).get('batching_items_total');
    expect(ended?.map(({ labels, value }) => [labels.outcome, value])).toEqual([
      ['result', 1],
      ['error', 0],
      ['aborted', 1],
    ]);
    await queue.stop();
  });

  it('says how busy the slots are, which with any number of slots is nothing', async () => {
    const queue = sleeping();
    const metrics = new ApplicationMetrics(
      application(queue),
      () => [],
      {},
      () => undefined,
    );
    await Promise.all(queue.submitMany([1, 2, 3, 4, 5, 6, 7, 8]));
    const utilization = valueOf(await metrics.read(), 'batching_utilization') ?? NaN;
    expect(utilization).toBeGreaterThan(0);
    expect(utilization).toBeLessThanOrEqual(1);
    queue.concurrency = Infinity;
    expect((await metrics.read()).has('batching_utilization')).toBe(false);
    await queue.stop();
  });

  it('counts a batch that runs as it runs, and not when it ends', async () => {
    let end: () => void = () => undefined;
    const run = (xs: number[]) =>
      new Promise<number[]>(
        (resolve) =>
          (end = () => {
            resolve(xs);
          }),
      );
    const queue = new BatchQueue(run, { name: 'queue', batchSize: 1, maxDelay: 0 });
    const metrics = new ApplicationMetrics(
      application(queue),
      () => [],
      { window: 40 },
      () => undefined,
    );
    const result = queue.submit(1);
    for (let reading = 0; reading < 4; reading++) {
      await sleep(50);
      await metrics.read();
    }
    expect(valueOf(await metrics.read(), 'batching_utilization')).toBeGreaterThan(0.5);
    end();
    await result;
    await queue.stop();
  });

  it('has no utilization of a queue whose inputs are sent to other nodes', async () => {
    const queue = sleeping();
    const remote = { ...application(queue), stats: () => [{ ...queue.stats(), remote: {} }] };
    const metrics = new ApplicationMetrics(
      remote,
      () => [],
      {},
      () => undefined,
    );
    await queue.submit(1);
    const samples = await metrics.read();
    expect(samples.has('batching_submitted_total')).toBe(true);
    expect(samples.has('batching_utilization')).toBe(false);
    await queue.stop();
  });

  it('never says NaN or Infinity of the replicas, whatever the settings', async () => {
    const queue = new BatchQueue((xs: number[]) => sleep(1, xs), {
      ...{ name: 'queue', batchSize: 4, maxDelay: Infinity, dispatch: 'fixed' as const },
    });
    const warnings: string[] = [];
    const options = { slo: { p99: 100 }, window: 20 };
    const metrics = new ApplicationMetrics(
      application(queue),
      () => [],
      options,
      (warning) => {
        warnings.push(warning);
      },
    );
    for (let batch = 0; batch < 10; batch++) await Promise.all(queue.submitMany([1, 2, 3, 4]));
    const replicas = async () => valueOf(await metrics.read(), 'batching_replicas_needed');
    expect(await replicas()).toBeGreaterThan(0);
    expect(await replicas()).toBeLessThan(100);
    expect(warnings).toEqual([expect.stringContaining('partial batches may wait for ever')]);
    await sleep(25);
    await metrics.read();
    await sleep(25);
    expect(await replicas()).toBe(0);
    queue.concurrency = Infinity;
    expect(await replicas()).toBeUndefined();
    await queue.stop();
  });
});
