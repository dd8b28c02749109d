import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { PassThrough } from 'node:stream';
import { ServiceUnavailableException } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { ApplicationQueues } from '../core/application.js';
import { BatchQueue } from '../core/batch-queue.js';
import type { BatchObserver } from '../core/watch.js';
import { checkDashboardOptions } from './dashboard-options.js';
import type { Frame } from './frame.js';
import { LiveFeed } from './live-feed.js';

describe('LiveFeed', () => {
  let queue: BatchQueue<number, number>;
  let watchers: number;
  let stats: number;
  let feed: LiveFeed;

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'performance'] });
    watchers = stats = 0;
    queue = new BatchQueue((inputs) => inputs, { name: 'Digits.classify', batchSize: 4, maxDelay: 0 });
    const watch = queue.watch.bind(queue);
    jest.spyOn(queue, 'watch').mockImplementation((observer: BatchObserver) => {
      watchers++;
      const stop = watch(observer);
      return () => {
        watchers--;
        stop();
      };
    });
    const read = queue.stats.bind(queue);
    jest.spyOn(queue, 'stats').mockImplementation(() => {
      stats++;
      return read();
    });
    const registry = { list: () => ['Digits.classify'], get: () => queue, transport: () => undefined };
    feed = new LiveFeed(
      checkDashboardOptions({ maxViewers: 1000 }),
      registry as unknown as ApplicationQueues,
    );
  });
  afterEach(() => {
    feed.onModuleDestroy();
    jest.useRealTimers();
    jest.restoreAllMocks();
  });

  /** A connection that is read only when the test does. */
  function open(): PassThrough {
    const stream = new PassThrough({ highWaterMark: 20_000 });
    // As the responses of HTTP/2, which have no such property.
    Object.defineProperty(stream, 'writableNeedDrain', { value: undefined });
    feed.add(() => stream as unknown as ServerResponse);
    return stream;
  }
  const tick = (count = 1) => {
    jest.advanceTimersByTime(200 * count);
  };
  const run = (count: number) => Promise.all(queue.submitMany(Array.from({ length: count }, (_, i) => i)));

  it('sends a thousand viewers the same text, and computes it once', async () => {
    const viewers = Array.from({ length: 1000 }, open);
    tick();
    viewers.forEach(read);
    await run(4);
    const before = stats;
    tick();
    expect(stats - before).toBe(1);
    const texts = new Set(viewers.map(read));
    expect(texts.size).toBe(1);
    const [text = ''] = texts;
    expect(framesOf(text)).toMatchObject([{ isWhole: false }]);
    expect(idsOf(framesOf(text)[0])).toEqual([1]);
  });

  it('watches queues only while there are viewers, and a little longer', async () => {
    expect(watchers).toBe(0);
    const viewer = open();
    expect(watchers).toBe(1);
    viewer.destroy();
    await once(viewer, 'close');
    tick(40);
    expect(watchers).toBe(1);
    jest.advanceTimersByTime(10_000);
    expect(watchers).toBe(0);
    const before = stats;
    jest.advanceTimersByTime(60_000);
    expect(stats).toBe(before);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('goes on where it was for a viewer that comes back soon', async () => {
    const first = open();
    await run(4);
    tick();
    read(first);
    first.destroy();
    await once(first, 'close');
    tick(5);
    const second = open();
    tick();
    const frames = framesOf(read(second));
    expect(frames).toMatchObject([{ isWhole: true }]);
    expect(idsOf(frames[0])).toEqual([1]);
  });

  it('sends one frame a second while nothing happens, and five while something does', async () => {
    const viewer = open();
    tick(25);
    const idle = framesOf(read(viewer)).length;
    expect(idle).toBeGreaterThanOrEqual(5);
    expect(idle).toBeLessThanOrEqual(7);
    for (let i = 0; i < 25; i++) {
      await run(1);
      tick();
    }
    expect(framesOf(read(viewer)).length).toBeGreaterThanOrEqual(25);
  });

  it('keeps nothing for a viewer that does not read, and shows it the newest when it reads again', async () => {
    const viewer = open();
    const lengths: number[] = [];
    for (let i = 0; i < 120; i++) {
      await run(40);
      tick();
      lengths.push(viewer.writableLength + viewer.readableLength);
    }
    expect(Math.max(...lengths)).toBeLessThan(120_000);
    const seen = framesOf(read(viewer));
    await run(4);
    tick();
    const [newest, ...others] = framesOf(read(viewer));
    expect(others).toEqual([]);
    expect(newest?.isWhole).toBe(true);
    expect(newest?.number).toBeGreaterThan((seen.at(-1)?.number ?? 0) + 1);
    // The last batch of all is among what is shown.
    expect(idsOf(newest).at(-1)).toBe(120 * 10 + 1);
  });

  it('closes the connection of a viewer that has read nothing for half a minute', async () => {
    const viewer = open();
    for (let i = 0; i < 400 && !viewer.destroyed; i++) {
      await run(40);
      tick();
    }
    expect(viewer.destroyed).toBe(true);
  });

  it('takes nobody for a viewer who left before', async () => {
    const gone = new PassThrough();
    gone.destroy();
    await once(gone, 'close');
    feed.add(() => gone as unknown as ServerResponse);
    expect(watchers).toBe(0);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('has a limit of viewers, and ends with the application', () => {
    feed = new LiveFeed(checkDashboardOptions({ maxViewers: 1 }), {
      list: () => [],
      get: () => queue,
      transport: () => undefined,
    } as unknown as ApplicationQueues);
    const viewer = open();
    expect(open).toThrow(ServiceUnavailableException);
    feed.onModuleDestroy();
    expect(viewer.writableEnded).toBe(true);
    expect(open).toThrow('shutting down');
  });

  it('says what is missing without BatchingModule', () => {
    expect(() => new LiveFeed(checkDashboardOptions({}))).toThrow('needs BatchingModule.forRoot()');
  });
});

/** What has come since the last look. */
function read(stream: PassThrough): string {
  let text = '';
  for (let chunk = stream.read() as Buffer | null; chunk; chunk = stream.read() as Buffer | null) {
    text += chunk.toString();
  }
  return text;
}

function framesOf(text: string): Frame[] {
  return [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data ?? '') as Frame);
}

function idsOf(frame: Frame | undefined): number[] {
  return frame?.queues[0]?.ended.map(([id]) => id) ?? [];
}
