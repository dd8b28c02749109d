import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import sharp from 'sharp';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { adapters, type Body, connections, DemoProcess, send } from './demo.js';

// A busy machine may be ten times as slow as an idle one.
jest.setTimeout(60_000);

const folder = mkdtempSync(join(tmpdir(), 'shutdown-'));
const json = { 'content-type': 'application/json' };
let body: string;
/** A photo of one tile. */
let tile: Buffer;
let demo: DemoProcess;

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
   * never opened is not: it was told so by an error, before anything was done, and can ask elsewhere.
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

describe('What cannot start says why, and ends with 1', () => {
  it('names every variable that is wrong, with what was expected', async () => {
    demo = new DemoProcess({ PORT: 'http', BATCH_SIZE: '0', MAX_DELAY: '-5', BACKEND: 'gpu', HOST: '' });
    expect(await demo.exit).toEqual({ code: 1, signal: null });
    expect(demo.output).toBe(
      'Cannot start; the environment needs a change:\n' +
        "PORT: expected an integer from 0 to 65535, got 'http'\n" +
        "BACKEND: expected one of auto, tensorflow, webgpu, wasm, cpu, got 'gpu'\n" +
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
 * @param onAnswer told how many answers have come so far
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
