import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { BatchingRegistry } from 'nest-batching';
import type { RaceProgress, RaceResult } from '../apps/demo-api/src/race/race.js';
import { send, startDemo } from './demo.js';

type RaceEvent = { event: 'progress'; data: RaceProgress } | { event: 'result' | 'error'; data: unknown };

describe('POST /race', () => {
  let app: INestApplication;
  let url: string;
  let leave: AbortController;

  beforeEach(async () => {
    ({ app, url } = await startDemo({}));
    leave = new AbortController();
  });
  afterEach(() => app.close());

  /** The events of a race, as they come. */
  async function* race(callers = 64): AsyncGenerator<RaceEvent> {
    const response = await fetch(`${url}/race?callers=${callers}`, { method: 'POST', signal: leave.signal });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    let text = '';
    for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const events = (text + piece).split('\n\n');
      text = events.pop() ?? '';
      for (const one of events) {
        const [, event = '', data = ''] = /^event: (.*)\ndata: (.*)$/.exec(one) ?? [];
        yield { event, data: JSON.parse(data) as unknown } as RaceEvent;
      }
    }
  }

  it('measures both lanes with the same callers, beside the queue of all others; another one has to wait', async () => {
    const events: RaceEvent[] = [];
    for await (const event of race(100)) {
      events.push(event);
      if (events.length > 1) continue;
      const refused = await send(`${url}/race`, { method: 'POST' });
      expect(refused.status).toBe(409);
      expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
      expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(7);
      expect(JSON.parse(refused.body)).toMatchObject({ statusCode: 409, code: 'ERR_RACE_RUNNING' });
    }
    const progress = events.flatMap((event) => (event.event === 'progress' ? [event.data] : []));
    expect(progress).toHaveLength(events.length - 1);
    expect(progress[0]).toEqual({ lane: 'oneByOne', elapsed: 0, time: 2000, digits: 0 });
    expect([...new Set(progress.map(({ lane }) => lane))]).toEqual(['oneByOne', 'batched']);

    const result = events.at(-1)?.data as RaceResult;
    expect(result).toMatchObject({ callers: 100, time: 2000, step: 20 });
    expect(result.oneByOne).toMatchObject({ batchSize: 1, meanBatch: 1 });
    expect(result.batched.batchSize).toBe(64);
    expect(result.batched.meanBatch).toBeGreaterThan(1);
    for (const { read, digits, rate } of [result.oneByOne, result.batched]) {
      expect(read).toHaveLength(100);
      expect(read).toEqual([...read].sort((a, b) => a - b));
      expect(read.at(-1)).toBe(digits);
      expect(digits).toBeGreaterThan(0);
      expect(rate).toBe(digits / 2);
    }
    expect(result.ratio).toBe(result.batched.digits / result.oneByOne.digits);
    const registry = app.get(BatchingRegistry);
    expect(registry.get('DigitClassifier.classify').stats().submitted).toBe(0);
    expect(registry.get('RaceLanes.batched').stats()).toMatchObject({ waiting: 0, running: 0, errors: 0 });
  });

  it('ends when its client leaves, and another one can begin', async () => {
    const left = (async () => {
      for await (const { event } of race()) {
        expect(event).toBe('progress');
        leave.abort();
      }
    })();
    await expect(left).rejects.toThrow('aborted');
    leave = new AbortController();
    // The server learns of it with the next event of its loop.
    const until = Date.now() + 10_000;
    let status = 409;
    while (status === 409 && Date.now() < until) {
      const response = await fetch(`${url}/race`, { method: 'POST', signal: leave.signal });
      ({ status } = response);
      await response.body?.cancel();
    }
    expect(status).toBe(200);
    // The race was over before its second lane began.
    expect(app.get(BatchingRegistry).get('RaceLanes.batched').stats().submitted).toBe(0);
  });

  it('ends with the server, and says so', async () => {
    let last: RaceEvent | undefined;
    let closed: Promise<void> | undefined;
    for await (const event of race()) {
      last = event;
      closed ??= app.close();
    }
    expect(last).toMatchObject({ event: 'error', data: { statusCode: 503, code: 'ERR_STOPPING' } });
    await closed;
  });

  it('is run by 64 to 256 callers', async () => {
    for (const callers of ['63', '257', '64.5', 'many']) {
      const refused = await send(`${url}/race?callers=${callers}`, { method: 'POST' });
      expect(refused.status).toBe(400);
      expect(refused.body).toContain('callers: expected an integer from 64 to 256');
    }
    const headers = { 'content-type': 'application/json' };
    const refused = await fetch(`${url}/race`, { method: 'POST', headers, body: '{"callers":128}' });
    expect(refused.status).toBe(400);
    expect(await refused.text()).toContain('expected no body: callers stands in the address');
  });
});
