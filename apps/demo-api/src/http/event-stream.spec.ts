import { text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
import { ApiError } from '@app/serving';
import { eventStream } from './event-stream.js';

describe('eventStream', () => {
  it('answers at the first event, and with the others as they come', async () => {
    const steps: string[] = [];
    const answer = await eventStream(async (send) => {
      for (let i = 0; i < 100; i++) {
        send('count', { i });
        steps.push('sent');
        await Promise.resolve();
      }
    });
    expect(steps.length).toBeLessThan(10);
    expect(answer.getHeaders().type).toBe('text/event-stream');
    const events = (await text(answer.getStream())).split('\n\n');
    expect(events).toHaveLength(101);
    expect(events[99]).toBe('event: count\ndata: {"i":99}');
    expect(events[100]).toBe('');
  });

  it('leaves an error before the first event to the filters', async () => {
    const error = new ApiError(422, 'ERR_TEST', 'expected something else');
    await expect(eventStream(() => Promise.reject(error))).rejects.toBe(error);
  });

  it('sends an error after the first event as the last one', async () => {
    const answer = await eventStream(async (send) => {
      send('count', 1);
      await Promise.resolve();
      throw new ApiError(422, 'ERR_TEST', 'expected something else');
    });
    const [, last] = (await text(answer.getStream())).split('\n\n');
    expect(last).toBe(
      'event: error\ndata: {"statusCode":422,"error":"Unprocessable Entity","message":"expected something else","code":"ERR_TEST"}',
    );
  });

  it('goes on when its client has closed the stream', async () => {
    const ended = { sent: 0 };
    const answer = await eventStream(async (send) => {
      for (; ended.sent < 50; ended.sent++) {
        send('count', ended.sent);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
    const stream = answer.getStream();
    stream.destroy();
    while (ended.sent < 50) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(stream.listenerCount('error')).toBe(1);
  });
});
