import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import type { Article } from '../docs/examples/bullmq.js';
import { hasRedis, RedisServer } from './redis-server.js';

const BATCH_SIZE = 32;
const ARTICLES = 600;

const withRedis = hasRedis('the recipe for BullMQ') ? describe : describe.skip;

withRedis('the worker of docs/examples/bullmq.ts', () => {
  let server: RedisServer;
  let redis: Redis;
  let queue: Queue<Article, string>;
  const workers: ChildProcess[] = [];
  let errors = '';

  beforeEach(async () => {
    server = await RedisServer.start();
    redis = new Redis(server.url);
    queue = new Queue('articles', { connection: { url: server.url } });
    errors = '';
  });

  afterEach(async () => {
    for (const worker of workers.splice(0)) await end(worker, 'SIGKILL');
    await queue.close();
    await redis.quit();
    await server.stop();
  });

  /** @param lockDuration after which the jobs of a worker that has died are given to another, ms */
  function startWorker(lockDuration = 5000): ChildProcess {
    const worker = spawn(
      process.execPath,
      ['--import', 'tsx', join(import.meta.dirname, 'bullmq-worker.ts')],
      {
        env: { PATH: process.env.PATH, REDIS_URL: server.url, LOCK_DURATION: String(lockDuration) },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    worker.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    workers.push(worker);
    return worker;
  }

  async function end(worker: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    if (worker.exitCode !== null || worker.signalCode !== null) return;
    worker.kill(signal);
    await once(worker, 'exit');
  }

  async function until(holds: () => Promise<boolean>): Promise<void> {
    while (!(await holds())) {
      const [worker] = workers.slice(-1);
      if (worker && worker.exitCode !== null) throw new Error(`the worker ended:\n${errors}`);
      await setTimeout(20);
    }
  }

  const batches = async () =>
    (await redis.lrange('batches', 0, -1)).map((text) => JSON.parse(text) as string[]);
  const someBatches = (count: number) => until(async () => (await redis.llen('batches')) >= count);
  const allEnded = () =>
    until(async () => {
      const { completed = 0, failed = 0 } = await queue.getJobCounts('completed', 'failed');
      return completed + failed === ARTICLES;
    });

  const ids = Array.from({ length: ARTICLES }, (_, index) => `article-${index}`);

  async function add(textOf: (index: number) => string): Promise<void> {
    await queue.addBulk(
      ids.map((id, index) => ({
        name: 'index',
        data: { id, text: textOf(index) },
        opts: { jobId: id, attempts: 3, backoff: 10 },
      })),
    );
  }

  it('works in batches, and each job ends by itself', async () => {
    await add((index) => (index % 100 === 7 ? '' : index % 100 === 8 ? 'too busy at first' : 'text'));
    startWorker();
    await allEnded();

    const bad = ids.filter((_, index) => index % 100 === 7);
    const busy = ids.filter((_, index) => index % 100 === 8);
    const failed = await queue.getFailed();
    expect(failed.map(({ data, failedReason }) => [data.id, failedReason]).toSorted()).toEqual(
      bad.map((id) => [id, `${id} was refused: 400`]).toSorted(),
    );
    const completed = await queue.getCompleted();
    expect(completed.map(({ returnvalue }) => returnvalue).toSorted()).toEqual(
      ids.filter((id) => !bad.includes(id)).toSorted(),
    );
    const again = [...failed, ...completed].filter(({ attemptsMade }) => attemptsMade > 1);
    expect(again.map(({ data }) => data.id).toSorted()).toEqual(busy.toSorted());

    const sizes = (await batches()).map(({ length }) => length);
    expect(Math.max(...sizes)).toBe(BATCH_SIZE);
    // Those at the beginning and the end, and those of jobs that came again, are small.
    expect(sizes.length).toBeLessThan(ARTICLES / 8);
  });

  it('loses nothing when it is killed in the midst, and another goes on', async () => {
    await add(() => 'text');
    const killed = startWorker(1000);
    await someBatches(4);
    await end(killed, 'SIGKILL');
    expect(await queue.getActiveCount()).toBeGreaterThan(0);
    expect(await queue.getCompletedCount()).toBeLessThan(ARTICLES);

    startWorker(1000);
    await allEnded();
    expect(await queue.getJobCounts('completed', 'failed', 'active', 'wait', 'delayed')).toEqual({
      completed: ARTICLES,
      failed: 0,
      active: 0,
      wait: 0,
      delayed: 0,
    });
    // At least once: what was not acknowledged when it was killed may have been written already.
    const written = await redis.hgetall('written');
    expect(Object.keys(written).toSorted()).toEqual(ids.toSorted());
    expect(Object.values(written).filter((times) => Number(times) > 1).length).toBeLessThanOrEqual(
      2 * BATCH_SIZE,
    );
  });

  it('finishes the jobs it has on SIGTERM, and no job fails for it', async () => {
    await add(() => 'text');
    const stopped = startWorker();
    await someBatches(4);
    await end(stopped, 'SIGTERM');
    const left = await queue.getJobCounts('completed', 'failed', 'active', 'wait', 'delayed');
    expect(left).toMatchObject({ failed: 0, active: 0, delayed: 0 });
    expect(left.wait).toBeGreaterThan(0);
    expect(await redis.hlen('written')).toBe(left.completed);
    expect(errors).toBe('');

    startWorker();
    await allEnded();
    const written = await redis.hgetall('written');
    expect(Object.entries(written).toSorted()).toEqual(ids.map((id) => [id, '1']).toSorted());
  });
});
