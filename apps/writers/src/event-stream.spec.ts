import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ApiError } from '@app/serving';
import { EventStream } from './event-stream.js';

describe('EventStream', () => {
  let server: Server;
  let stream: EventStream;
  let reader: IncomingMessage;

  beforeEach(() => open(60_000));
  afterEach(close);

  async function open(patience: number): Promise<void> {
    server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const opened = once(server, 'request').then(([, response]) => {
      stream = new EventStream(response as never, patience);
    });
    const request = get({ port: (server.address() as AddressInfo).port, agent: false });
    [reader] = (await once(request, 'response')) as [IncomingMessage];
    await opened;
    reader.on('error', () => undefined);
  }

  async function close(): Promise<void> {
    reader.destroy();
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }

  it('sends events, and a last one', async () => {
    await stream.send('text', { text: 'a' });
    stream.end('end', { length: 1 });
    expect(await text(reader)).toBe('event: text\ndata: {"text":"a"}\n\nevent: end\ndata: {"length":1}\n\n');
  });

  it('ends with an error as its answer would be', async () => {
    stream.fail(new ApiError(503, 'ERR_TEST', 'come again'));
    expect(await text(reader)).toBe(
      'event: error\ndata: {"statusCode":503,"error":"Service Unavailable","message":"come again","code":"ERR_TEST"}\n\n',
    );
  });

  it('keeps a bounded amount for a reader that does not read, and then ends with the reason', async () => {
    await close();
    await open(50);
    reader.pause();
    let sent = 0;
    const sending = (async () => {
      for (; sent < 10_000; sent++) await stream.send('text', { text: 'x'.repeat(1_000_000) });
    })();
    await expect(sending).rejects.toMatchObject({ code: 'ERR_READER_TOO_SLOW' });
    // What the sockets take; the rest of 10 GB was never made.
    expect(sent).toBeLessThan(100);
    expect(stream.signal.aborted).toBe(true);
    const closed = once(reader, 'close');
    stream.fail(stream.signal.reason);
    reader.resume();
    await closed;
  });

  it('closes the connection of a reader that does not read to its end', async () => {
    await close();
    await open(50);
    reader.pause();
    const aborted = once(stream.signal, 'abort');
    stream.end('end', { text: 'x'.repeat(20_000_000) });
    await aborted;
    expect(stream.signal.reason).toMatchObject({ code: 'ERR_CLIENT_GONE' });
  });

  it('goes on when its reader reads again', async () => {
    reader.pause();
    const sending = stream.send('text', { text: 'x'.repeat(20_000_000) });
    reader.resume();
    await sending;
    expect(stream.signal.aborted).toBe(false);
  });

  it('aborts when its reader leaves', async () => {
    const aborted = once(stream.signal, 'abort');
    reader.destroy();
    await aborted;
    expect(stream.signal.reason).toMatchObject({ code: 'ERR_CLIENT_GONE' });
    await expect(stream.send('text', {})).rejects.toBe(stream.signal.reason);
    stream.fail(stream.signal.reason);
  });
});
