import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { BatchingRegistry } from 'nest-batching';
import { readConfiguration } from '../configuration.js';
import type { BatchHistory } from './batch-history.js';
import { LiveView } from './live-view.js';

describe('LiveView', () => {
  let batches: number[];
  let stats: number;
  let view: LiveView;
  const destroy = jest.fn();
  const socket = new EventEmitter().setMaxListeners(2000);
  const response = Object.assign(new EventEmitter().setMaxListeners(2000), {
    destroy,
    req: { socket },
  }) as unknown as ServerResponse;

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['nextTick'] });
    batches = [1, 2, 3];
    stats = 0;
    const registry = { stats: () => [{ name: 'digits', sample: ++stats }] };
    const history = {
      get last() {
        return batches.length;
      },
      since: (number: number) => batches.filter((batch) => batch > number),
    };
    view = new LiveView(
      registry as unknown as BatchingRegistry,
      history as unknown as BatchHistory,
      readConfiguration({ MAX_VIEWERS: '2000' }),
    );
  });
  afterEach(() => {
    jest.useRealTimers();
    destroy.mockClear();
  });

  const ran = (count: number) => {
    for (let i = 0; i < count; i++) batches.push(batches.length + 1);
  };
  const tick = () => {
    jest.advanceTimersByTime(250);
  };

  it('sends 1,000 viewers the same text, with the statistics computed once', () => {
    const viewers = Array.from({ length: 1000 }, () => view.open(response, undefined));
    tick();
    viewers.forEach(textOf);
    const before = stats;
    ran(2);
    tick();
    expect(stats).toBe(before + 1);
    expect(new Set(viewers.map(textOf)).size).toBe(1);
    tick();
    expect(eventsOf(textOf(viewers[0]))).toMatchObject([{ queues: [{ sample: before + 2 }], batches: [] }]);
  });

  it('loses a viewer whose answer waited behind another one when its connection was lost', async () => {
    const viewer = view.open(response, undefined);
    const closed = once(viewer, 'close');
    socket.emit('close');
    await closed;
    ran(1);
    tick();
    expect(stats).toBe(1);
  });

  it('computes nothing without viewers', async () => {
    const viewer = view.open(response, undefined);
    tick();
    viewer.destroy();
    await once(viewer, 'close');
    const before = stats;
    jest.advanceTimersByTime(10_000);
    expect(stats).toBe(before);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('goes on where a viewer was cut off, and begins with what is recent otherwise', () => {
    ran(500);
    const first = view.open(response, '501');
    expect(eventsOf(textOf(first))).toMatchObject([{ batches: [502, 503] }]);
    const others = ['999', undefined, 'x', '0'].map((id) => view.open(response, id));
    ran(1);
    tick();
    expect(eventsOf(textOf(first))).toMatchObject([{ batches: [504] }]);
    expect(others.map((viewer) => eventsOf(textOf(viewer))[0]?.batches.length)).toEqual([201, 201, 201, 504]);
  });

  it('keeps nothing for a viewer that does not read; it goes on with what it missed, up to 1,000 batches', () => {
    const viewer = view.open(response, undefined);
    const sizes: number[] = [];
    for (let i = 0; i < 100; i++) {
      ran(300);
      tick();
      sizes.push(viewer.readableLength);
    }
    expect(Math.max(...sizes)).toBeLessThan(60_000);
    const seen = eventsOf(textOf(viewer)).flatMap((event) => event.batches);
    tick();
    const missed = eventsOf(textOf(viewer));
    expect(missed).toHaveLength(1);
    expect(missed[0]?.batches).toHaveLength(1000);
    expect(missed[0]?.batches.at(-1)).toBe(batches.length);
    expect(seen).toEqual(batches.slice(0, seen.length));
    expect(destroy).not.toHaveBeenCalled();
  });

  it('ends the connection of a viewer that has read nothing for 30 s', () => {
    view.open(response, undefined);
    for (let i = 0; i < 500; i++) {
      ran(100);
      tick();
    }
    expect(destroy).toHaveBeenCalledTimes(1);
  });

  it('ends with the application, also for a viewer that comes later', () => {
    const [first, second] = [view.open(response, undefined), view.open(response, undefined)];
    view.beforeApplicationShutdown();
    const late = view.open(response, undefined);
    for (const viewer of [first, second, late]) expect(viewer).toMatchObject({ writableEnded: true });
  });
});

/** What has come since the last look. */
function textOf(viewer: Readable | undefined): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = viewer?.read() as Buffer | null | undefined;
    if (!chunk) return Buffer.concat(chunks).toString();
    chunks.push(chunk);
  }
}

function eventsOf(text: string): { queues: object[]; batches: number[] }[] {
  return [...text.matchAll(/^data: (.*)$/gm)].map(
    ([, data]) => JSON.parse(data ?? '') as { queues: object[]; batches: number[] },
  );
}
