import { once } from 'node:events';
import { request, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { OpenAPIObject } from '@nestjs/swagger';
import { BatchingRegistry } from 'nest-batching';
import { adapters, DemoProcess, liveView, postJson, send, startDemo } from './demo.js';

const pixels = Array.from({ length: 784 }, (_, i) => (i % 28 === 13 || i % 28 === 14 ? 255 : 0));
const digit = JSON.stringify({ pixels });

describe.each(adapters)('The bounds of the demo as a server, %s', (adapter) => {
  let app: INestApplication | undefined;
  let url: string;
  const clients: Client[] = [];
  const start = async (environment: NodeJS.ProcessEnv = {}) => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter, BACKEND: 'wasm', ...environment }));
  };
  afterEach(async () => {
    for (const client of clients.splice(0)) client.socket.destroy();
    await app?.close();
    app = undefined;
  });
  const dial = async () => {
    const client = await Client.to(url);
    clients.push(client);
    return client;
  };

  describe('a body in pieces of one byte', () => {
    it.each([
      ['at once', 20_000],
      ['one after the other', 1],
    ])('beyond the limit gets one 413, and then its connection is closed; sent %s', async (_, pieces) => {
      await start();
      const client = await dial();
      client.write(head('POST', '/digits', { 'transfer-encoding': 'chunked' }));
      client.write('1\r\n7\r\n'.repeat(32_001));
      // A connection on which nothing comes would be closed by Node itself.
      const flood = setInterval(() => {
        client.write('1\r\n7\r\n'.repeat(pieces));
      }, 20);
      await client.closed;
      clearInterval(flood);
      expect(client.statuses()).toEqual([413]);
      expect(client.text).toContain('expected a body of at most 32000 bytes, got more');
      expect((await postJson(`${url}/digits`, { pixels })).status).toBe(200);
    });

    it('does not keep others waiting, on any route', async () => {
      await start();
      const floods = ['/digits', '/digits', '/digits', '/nowhere'].map(async (path) => {
        const client = await dial();
        client.write(head('POST', path, { 'transfer-encoding': 'chunked' }));
        for (let sent = 0; sent < 50 && !client.socket.destroyed; sent++) {
          client.write('1\r\n7\r\n'.repeat(20_000));
          await sleep(5);
        }
        await client.closed;
        return client.statuses();
      });
      for (let i = 0; i < 10; i++) expect((await postJson(`${url}/digits`, { pixels })).status).toBe(200);
      expect(await Promise.all(floods)).toEqual([[413], [413], [413], [404]]);
    });

    it('within the limit is read like any other', async () => {
      await start();
      const client = await dial();
      const chunks = digit.replace(/./g, '1\r\n$&\r\n');
      client.write(`${head('POST', '/digits', { 'transfer-encoding': 'chunked' })}${chunks}0\r\n\r\n`);
      expect(await client.answers(1)).toEqual([200]);
    });
  });

  it('a body that stops gets 408, and its bytes are free again', async () => {
    await start({ BODY_TIMEOUT: '100', MAX_BODY_BYTES: '40000' });
    const client = await dial();
    client.write(`${head('POST', '/digits', { 'content-length': '32000' })}${' '.repeat(31_000)}`);
    expect(await client.answers(1)).toEqual([408]);
    expect(client.text).toContain('ERR_BODY_TIMEOUT');
    expect((await postJson(`${url}/digits`, { images: ' '.repeat(20_000), pixels })).status).toBe(200);
    await client.closed;
  });

  it('more bytes of bodies than it holds get 503, and when to come again, until others are answered', async () => {
    await start({ MAX_BODY_BYTES: '100000' });
    const body = Buffer.alloc(60_000);
    const first = await dial();
    first.write(head('POST', '/digits', { 'content-type': 'image/png', 'content-length': '60001' }));
    first.write(body);
    await sleep(100);
    const options = { method: 'POST', headers: { 'content-type': 'image/png' } };
    const second = await send(`${url}/digits`, options, body);
    expect(second.status).toBe(503);
    expect(JSON.parse(second.body)).toMatchObject({ code: 'ERR_BODIES_FULL', details: { limit: 100_000 } });
    expect(second.headers['retry-after']).toBe('1');
    expect((await postJson(`${url}/digits`, { pixels })).status).toBe(200);
    first.write('!');
    expect(await first.answers(1)).toEqual([422]);
    expect((await send(`${url}/digits`, options, body)).status).toBe(422);
    // One alone is held to its own limit only.
    expect((await send(`${url}/digits`, options, Buffer.alloc(200_000))).status).toBe(422);
  });

  it('the bytes of a body whose answer waits behind another one are free again when the client has gone', async () => {
    await start({ MAX_BODY_BYTES: '100000' });
    const body = Buffer.alloc(60_000);
    const client = await dial();
    // The first answer has no end.
    client.write(head('GET', '/queues/live', { accept: 'text/event-stream' }));
    client.write(head('POST', '/digits', { 'content-type': 'image/png', 'content-length': '60000' }));
    client.write(body);
    const options = { method: 'POST', headers: { 'content-type': 'image/png' } };
    const status = async () => (await send(`${url}/digits`, options, body)).status;
    await until(async () => (await status()) === 503);
    client.socket.destroy();
    await until(async () => (await status()) === 422);
  });

  it('connections beyond the limit get 503, and places are free again', async () => {
    await start({ MAX_CONNECTIONS: '5' });
    const idle = await Promise.all(Array.from({ length: 5 }, dial));
    const refused = await send(`${url}/health/live`, { agent: false });
    expect(refused.status).toBe(503);
    expect(refused.headers['retry-after']).toBe('1');
    expect(JSON.parse(refused.body)).toEqual({
      statusCode: 503,
      error: 'Service Unavailable',
      message: '5 connections are open, as many as this server takes',
      code: 'ERR_TOO_MANY_CONNECTIONS',
    });
    const silent = await dial();
    await silent.closed;
    expect(silent.statuses()).toEqual([503]);
    idle[0]?.socket.destroy();
    await until(async () => (await send(`${url}/health/live`, { agent: false })).status === 200);
  });

  it('requests of one connection sent without waiting: some in progress, the others not read, all answered', async () => {
    await start({ MAX_PIPELINED: '4', MAX_DELAY: '20', DISPATCH: 'fixed', BATCH_SIZE: '64' });
    const client = await dial();
    const most = watchWaiting(app);
    client.write(
      `${head('POST', '/digits', { 'content-length': String(digit.length) })}${digit}`.repeat(400),
    );
    expect(await client.answers(400)).toEqual(Array(400).fill(200));
    expect(most()).toBe(4);
    // One that is refused by a middleware, when its turn comes, is answered like any other.
    client.write(
      ['/digits/samples', '/nowhere?%zz', '/health/live']
        .map((path) => head('GET', path))
        .join('')
        .repeat(3),
    );
    expect((await client.answers(409)).slice(400)).toEqual([200, 400, 200, 200, 400, 200, 200, 400, 200]);
  });

  it('answers that are not read hold requests back, however many are sent', async () => {
    await start({ MAX_PIPELINED: '4' });
    const begun: string[] = [];
    (app?.getHttpServer() as Server).on('request', ({ url = '' }) => begun.push(url));
    const client = await dial();
    client.socket.pause();
    client.write(head('GET', '/digits/samples?count=1000').repeat(30_000));
    await sleep(1000);
    // What one read of the socket held, and little more.
    expect(begun.length).toBeLessThan(3000);
    expect((await postJson(`${url}/digits`, { pixels })).status).toBe(200);
  });

  it('a caller that leaves takes all that it sent without waiting out of the queue', async () => {
    await start({ MAX_DELAY: '60000', DISPATCH: 'fixed', BATCH_SIZE: '64' });
    const client = await dial();
    client.write(`${head('POST', '/digits', { 'content-length': String(digit.length) })}${digit}`.repeat(5));
    const stats = () => app?.get(BatchingRegistry).stats()[0];
    await until(() => stats()?.waiting === 5);
    client.socket.destroy();
    await until(() => stats()?.waiting === 0);
    expect(stats()).toMatchObject({ dropped: 5, batches: 0 });
  });

  it('live views beyond the limit get 503, and a place is free when one leaves', async () => {
    await start({ MAX_VIEWERS: '3' });
    const viewers = await Promise.all(Array.from({ length: 3 }, () => watch(url)));
    const refused = await send(`${url}/queues/live`, {});
    expect(refused.status).toBe(503);
    expect(refused.headers['retry-after']).toBe('1');
    expect(JSON.parse(refused.body)).toMatchObject({ code: 'ERR_TOO_MANY_VIEWERS' });
    viewers[0]?.destroy();
    await until(async () => (await liveView(url).catch(() => undefined)) !== undefined);
    viewers.forEach((viewer) => viewer.destroy());
  });

  it('many live views: the statistics are computed once for all', async () => {
    await start();
    const stats = jest.spyOn(BatchingRegistry.prototype, 'stats');
    const begun = performance.now();
    const viewers = await Promise.all(Array.from({ length: 50 }, () => watch(url)));
    const events = await Promise.all(viewers.map((viewer) => once(viewer, 'data')));
    const calls = stats.mock.calls.length;
    expect(calls).toBeGreaterThan(0);
    expect(calls).toBeLessThanOrEqual(1 + (performance.now() - begun) / 250);
    expect(new Set(events.map(([text]) => /"now":\d+/.exec(String(text))?.[0])).size).toBeLessThanOrEqual(
      calls,
    );
    viewers.forEach((viewer) => viewer.destroy());
    await until(async () => {
      stats.mockClear();
      await sleep(600);
      return stats.mock.calls.length === 0;
    });
    stats.mockRestore();
  });

  describe('TEI#378: more images than the queue holds', () => {
    it('the request takes as many as it holds, says so, and they are answered', async () => {
      await start({ MAX_QUEUED: '20' });
      const images = Array.from({ length: 21 }, () => pixels);
      const refused = await postJson(`${url}/digits/many`, { images });
      expect(refused.status).toBe(400);
      expect(refused.body).toContain('images: expected an array of 1 to 20 arrays of 784 integers');
      const answer = await postJson(`${url}/digits/many`, { images: images.slice(1) });
      expect(answer.status).toBe(200);
      const document = JSON.parse((await send(`${url}/docs/openapi.json`, {})).body) as OpenAPIObject;
      expect(JSON.stringify(document.paths['/digits/many']?.post?.requestBody)).toContain('"maxItems":20');
    });
  });
});

describe('TEI#378: a queue that is shorter than a request', () => {
  it.each([
    ['200', true],
    ['256', false],
    ['0', false],
  ])('is logged at start, MAX_QUEUED=%s', async (maxQueued, lowered) => {
    const demo = new DemoProcess({
      MAX_QUEUED: maxQueued,
      BACKEND: 'wasm',
      LOG_FORMAT: 'text',
      NO_COLOR: '1',
    });
    await demo.listening();
    demo.kill('SIGTERM');
    await demo.exit;
    const line = 'POST /digits/many takes at most 200 images, not 256';
    if (lowered) expect(demo.output).toContain(line);
    else expect(demo.output).not.toContain('POST /digits/many takes');
  });
});

/** A connection, and what has come on it. */
class Client {
  text = '';
  /** Resolves when it has ended, in whatever way. */
  readonly closed: Promise<void>;

  private constructor(readonly socket: Socket) {
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        resolve();
      });
    });
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => (this.text += chunk.toString()));
  }

  static async to(url: string): Promise<Client> {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    await once(socket, 'connect');
    return new Client(socket);
  }

  write(data: string | Buffer): void {
    if (this.socket.writable) this.socket.write(data);
  }

  statuses(): number[] {
    return [...this.text.matchAll(/HTTP\/1.1 (\d+) /g)].map(([, status]) => Number(status));
  }

  /** The statuses of all answers, once there are as many. */
  async answers(count: number): Promise<number[]> {
    await until(() => this.statuses().length >= count);
    return this.statuses();
  }
}

function head(method: string, path: string, headers: Record<string, string> = {}): string {
  const lines = Object.entries({ host: 'demo', 'content-type': 'application/json', ...headers });
  return `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
}

/** A live view that has begun. */
async function watch(url: string) {
  const outgoing = request(`${url}/queues/live`, { agent: false }).end();
  const [response] = (await once(outgoing, 'response')) as [import('node:http').IncomingMessage];
  response.on('error', () => undefined);
  return response;
}

/** @returns the most digits that have been waiting and running together */
function watchWaiting(app: INestApplication | undefined): () => number {
  let most = 0;
  const timer = setInterval(() => {
    const [stats] = app?.get(BatchingRegistry).stats() ?? [];
    most = Math.max(most, (stats?.waiting ?? 0) + (stats?.running ?? 0));
  }, 1);
  return () => {
    clearInterval(timer);
    return most;
  };
}

function sleep(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time));
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('it did not happen within 20 s');
    await sleep(5);
  }
}
