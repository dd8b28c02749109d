import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { AppProcess } from './app-process.js';
import { adapters, type Body, connections, DemoProcess, send } from './demo.js';
import { kinds } from './lookup.js';

const folder = mkdtempSync(join(tmpdir(), 'shutdown-'));
const json = { 'content-type': 'application/json' };
let body: string;
/** A photo of one tile. */
let tile: Buffer;
let demo: AppProcess;

/** The served applications, each with a request that is answered by way of a queue. */
const apps = [
  ...adapters.map((adapter) => ({
    name: `demo on ${adapter}`,
    start: (environment: NodeJS.ProcessEnv, ...nodeOptions: string[]) =>
      new DemoProcess({ HTTP_ADAPTER: adapter, ...environment }, ...nodeOptions),
    text: (more = '') =>
      `POST /digits HTTP/1.1\r\nHost: x\r\n${more}Content-Type: application/json\r\n` +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
  })),
  ...kinds
    .filter(({ kind, isHere }) => kind === 'SQLite' && isHere)
    .map(() => ({
      name: 'lookup',
      start: (environment: NodeJS.ProcessEnv, ...nodeOptions: string[]) =>
        new AppProcess('lookup', { DATA_FOLDER: folder, MEMBERS: '100', ...environment }, nodeOptions),
      text: (more = '') => `GET /members/42 HTTP/1.1\r\nHost: x\r\n${more}\r\n`,
    })),
];
/** What makes FAULT go wrong in the process: see there. */
const faults = ['--import', join(import.meta.dirname, 'faults.mjs')];

beforeAll(async () => {
  const [digit] = await loadTestDigits();
  body = JSON.stringify({ pixels: [...(digit?.pixels ?? [])] });
  tile = await sharp({ create: { width: 84, height: 84, channels: 3, background: '#888' } })
    .png()
    .toBuffer();
});
afterEach(async () => {
  demo.kill('SIGKILL');
  await demo.exit;
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe.each(adapters)('SIGTERM, %s', (adapter) => {
  /**
   * A request is accepted when the server has received its head. What a client sends on a connection that is closed or
   * never opened is not: its client got an error before anything was done, and can ask elsewhere.
   */
  it.each([1, 2])('in the midst of traffic: every accepted request is answered (%i)', async (trial) => {
    const log = join(folder, `${adapter}-${trial}`);
    demo = new DemoProcess(
      { HTTP_ADAPTER: adapter, REQUEST_LOG: log, SHUTDOWN_TIMEOUT: '50000' },
      '--import',
      join(import.meta.dirname, 'request-log.mjs'),
    );
    const url = await demo.listening();
    const answered = await traffic(url, (count) => {
      if (count === 100) demo.kill('SIGTERM');
    });
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });

    const accepted = readFileSync(log, 'utf8').trim().split('\n');
    expect(accepted.length).toBeGreaterThanOrEqual(100);
    expect(accepted.filter((id) => id.startsWith('/queues/live'))).not.toEqual([]);
    expect(accepted.filter((id) => id.startsWith('/photos'))).not.toEqual([]);
    expect(accepted.filter((id) => answered.get(id) !== 200)).toEqual([]);
    expect(answered.size).toBe(accepted.length);
  });

  it('waits for a body that is still on its way', async () => {
    demo = new DemoProcess({ HTTP_ADAPTER: adapter });
    const url = await demo.listening();
    const upload = request(`${url}/digits`, { method: 'POST', headers: json });
    upload.write(body.slice(0, 1000));
    await sleep(100);
    demo.kill('SIGTERM');
    await sleep(200);
    upload.end(body.slice(1000));
    const [response] = (await once(upload, 'response')) as [{ statusCode: number; resume: () => void }];
    response.resume();
    expect(response.statusCode).toBe(200);
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
  });

  it('does not wait for a body that never comes', async () => {
    demo = new DemoProcess({ HTTP_ADAPTER: adapter, SHUTDOWN_TIMEOUT: '300' });
    const upload = request(`${await demo.listening()}/digits`, { method: 'POST', headers: json });
    upload.on('error', () => undefined);
    upload.write(body.slice(0, 1000));
    await sleep(100);
    demo.kill('SIGTERM');
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
  });

  it('ends live views, and does not wait for idle connections', async () => {
    demo = new DemoProcess({ HTTP_ADAPTER: adapter });
    const url = await demo.listening();
    const agent = connections();
    await send(`${url}/health/live`, { agent });
    const live = await fetch(`${url}/queues/live`);
    const reader = live.body?.getReader();
    await reader?.read();
    const start = performance.now();
    demo.kill('SIGTERM');
    // The end of the stream, not an error.
    while (!(await reader?.read())?.done);
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(performance.now() - start).toBeLessThan(4000);
    agent.destroy();
  });
});

describe.each(apps)('SIGTERM and its kind, $name', ({ start, text }) => {
  it.each(['SIGTERM', 'SIGINT'] as const)(
    '%s: answers what was sent before it and has not reached Node yet',
    async (signal) => {
      const block = join(folder, 'block');
      writeFileSync(block, '');
      demo = start({ FAULT: 'block', FAULT_FILE: block }, ...faults);
      const url = await demo.listening();
      const kept = new RawClient(url);
      await kept.send(text());
      await kept.answers(1);
      demo.kill('SIGUSR2');
      await demo.says('the event loop is blocked');

      // Connections that wait in the system's backlog, requests that wait in its buffers.
      const fresh = Array.from({ length: 100 }, () => new RawClient(url));
      const pipelined = new RawClient(url);
      const halved = new RawClient(url);
      const one = text();
      await Promise.all([
        ...fresh.map((client) => client.send(one)),
        kept.send(one),
        pipelined.send(one.repeat(3)),
        halved.send(one.slice(0, 20)),
      ]);
      demo.kill(signal);
      rmSync(block);
      await Promise.all([...fresh, kept, pipelined].map(({ ended }) => ended));
      // The port has closed meanwhile.
      await sleep(500);
      await halved.send(one.slice(20));
      expect(await demo.exit).toEqual({ code: null, signal });
      await halved.ended;
      expect(fresh.map(({ statuses }) => statuses)).toEqual(fresh.map(() => [200]));
      expect(kept.statuses).toEqual([200, 200]);
      expect(pipelined.statuses).toEqual([200, 200, 200]);
      expect(halved.statuses).toEqual([200]);
    },
  );

  it('answers every request that was sent before it, with new connections coming all the time', async () => {
    demo = start({ SHUTDOWN_TIMEOUT: '50000' });
    const url = await demo.listening();
    let answered = 0;
    let killed = Infinity;
    const lost: number[] = [];
    const client = async (): Promise<void> => {
      for (;;) {
        const connection = new RawClient(url);
        const isSent = await connection.send(text('Connection: close\r\n')).then(
          () => true,
          () => false,
        );
        const sent = performance.now();
        await connection.ended;
        if (connection.statuses[0] === 200) answered++;
        else if (isSent && sent < killed) lost.push(sent - killed);
        else if (sent > killed) return;
        if (answered === 300) {
          killed = performance.now();
          demo.kill('SIGTERM');
        }
      }
    };
    await Promise.all(Array.from({ length: 64 }, client));
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(lost).toEqual([]);
    // Some came while the port was still open.
    expect(answered).toBeGreaterThan(300);
  });

  it('is not ready at once, and takes requests until the port closes; further signals change nothing', async () => {
    demo = start({ SHUTDOWN_DELAY: '2000', SHUTDOWN_TIMEOUT: '50000' });
    const url = await demo.listening();
    expect(await send(`${url}/health/ready`, { agent: false })).toMatchObject({ status: 200 });
    const idle = new RawClient(url);
    await idle.send('');
    const began = performance.now();
    demo.kill('SIGTERM');
    while ((await send(`${url}/health/ready`, { agent: false })).status === 200);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) demo.kill(signal);
    const fresh = new RawClient(url);
    await fresh.send(text());
    await fresh.ended;
    expect(fresh.statuses).toEqual([200]);
    expect(fresh.text).toMatch(/^connection: close\r$/im);
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(performance.now() - began).toBeGreaterThan(1900);
    // It was never used, and nothing waited for it.
    await idle.ended;
    expect(idle.statuses).toEqual([]);
  });

  it('ends by the signal within SHUTDOWN_TIMEOUT when it cannot close', async () => {
    demo = start({ FAULT: 'never-closes', SHUTDOWN_TIMEOUT: '1000' }, ...faults);
    await demo.listening();
    demo.kill('SIGTERM');
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(demo.output).toMatch('not done within 1000 ms: ended by SIGTERM');
  });

  it('ends by a SIGSEGV, from outside or of its own, and does not loop', async () => {
    const processes = [start({}), start({ FAULT: 'crash' }, ...faults)];
    for (const [i, crashing] of processes.entries()) {
      demo = crashing;
      await demo.listening();
      demo.kill(i === 0 ? 'SIGSEGV' : 'SIGUSR2');
      expect(await demo.exit).toEqual({ code: null, signal: 'SIGSEGV' });
    }
  });
});

describe.each(adapters)('A worker that is stuck in native code, %s', (adapter) => {
  it('gets its callers a 503, and SIGTERM ends the process by the signal within SHUTDOWN_TIMEOUT', async () => {
    const stuck = join(folder, 'stuck');
    const environment = { FAULT: 'stuck-worker', FAULT_FILE: stuck, SHUTDOWN_TIMEOUT: '3000' };
    demo = new DemoProcess({ HTTP_ADAPTER: adapter, ...environment }, ...faults);
    const url = await demo.listening();
    writeFileSync(stuck, '');
    await demo.says('the worker is stuck');
    const answer = send(`${url}/digits`, { agent: false, method: 'POST', headers: json }, body);
    await sleep(100);
    const start = performance.now();
    demo.kill('SIGTERM');
    demo.kill('SIGTERM');
    expect((await answer).status).toBe(503);
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
    // It would be stuck for 60 s.
    expect(performance.now() - start).toBeLessThan(30_000);
    rmSync(stuck);
  });
});

describe('What cannot start says why, and ends with 1', () => {
  it('names every variable that is wrong, with what was expected', async () => {
    demo = new DemoProcess({ PORT: 'http', BATCH_SIZE: '0', MAX_DELAY: '-5', BACKEND: 'gpu', HOST: '' });
    expect(await demo.exit).toEqual({ code: 1, signal: null });
    expect(demo.output).toBe(
      'Cannot start; the environment needs a change:\n' +
        "PORT: expected an integer from 0 to 65535, got 'http'\n" +
        "BACKEND: expected one of auto, tensorflow, webgpu, wasm, cpu, onnx, got 'gpu'\n" +
        'BATCH_SIZE: expected an integer from 1 to 4096, got 0\n' +
        'MAX_DELAY: expected a number from 0 to 60000, got -5\n',
    );
  });

  it.each(adapters)('names a port that is in use, %s', async (adapter) => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const environment = { HTTP_ADAPTER: adapter, PORT: String(port), LOG_LEVEL: 'fatal', BACKEND: 'wasm' };
    demo = new DemoProcess(environment);
    const exit = await demo.exit;
    other.close();
    expect(exit).toEqual({ code: 1, signal: null });
    expect(demo.output).toBe(
      `Cannot start: port ${port} is in use. Stop what listens there, or set PORT to another one (0: any).\n`,
    );
  });
});

/**
 * 64 clients that ask again and again, over as many connections, until the server is gone: most for a digit, a few for
 * a photo, and a few that watch.
 *
 * @param onAnswer called with the number of answers so far
 * @returns the status of each request that got its whole answer, by id
 */
async function traffic(url: string, onAnswer: (count: number) => void): Promise<Map<string, number>> {
  const agent = connections();
  const answered = new Map<string, number>();
  let count = 0;
  const client = async (path: string, headers: Record<string, string>, body?: Body): Promise<void> => {
    for (;;) {
      const id = `${path} ${count++}`;
      try {
        const options = {
          agent,
          method: body ? 'POST' : 'GET',
          headers: { ...headers, 'x-request-id': id },
        };
        const answer = await send(`${url}${path}`, options, body);
        answered.set(id, answer.status);
        onAnswer(answered.size);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'ECONNREFUSED') return;
        if (code !== 'ECONNRESET' && code !== 'EPIPE') throw error;
      }
    }
  };
  const digit = () => client('/digits', json, body);
  const photo = () => client('/photos/upscale', { 'content-type': 'image/png' }, tile);
  const watcher = () => client('/queues/live', {});
  const few = [photo, photo, photo, photo, watcher, watcher, watcher, watcher];
  await Promise.all([...few, ...Array<typeof digit>(64 - few.length).fill(digit)].map((begin) => begin()));
  return answered;
}

/** A connection that sends what it is given, and reads answers until it ends. */
class RawClient {
  readonly #socket;
  text = '';
  /** Resolves when the connection has ended, in whatever way. */
  readonly ended: Promise<void>;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.#socket = connect({ host: hostname, port: Number(port) });
    this.#socket.on('data', (chunk: Buffer) => (this.text += chunk.toString('latin1')));
    this.#socket.on('error', () => undefined);
    this.ended = new Promise((resolve) =>
      this.#socket.once('close', () => {
        resolve();
      }),
    );
  }

  get statuses(): number[] {
    return [...this.text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));
  }

  /** Resolves when it is connected and the system has taken all of the text. */
  send(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(text, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  /** Resolves when so many have begun. */
  async answers(count: number): Promise<void> {
    while (this.statuses.length < count) await once(this.#socket, 'data');
  }
}
