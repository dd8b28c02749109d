import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { adapters, DemoProcess, postJson, send } from './demo.js';

const pixels = Array<number>(784).fill(0);
const silent = /the inference worker gave no answer to model 'digits' for \d+ ms and /;
const stuck = new RegExp(`${silent.source}cannot be ended: it is stuck in native code; restart the process`);

let folder: string;
let silence: string;
let demo: DemoProcess;
let url: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'silent-worker-'));
  silence = join(folder, 'silence');
});
afterEach(async () => {
  demo.kill('SIGKILL');
  await demo.exit;
  rmSync(folder, { recursive: true });
});

async function start(environment: NodeJS.ProcessEnv): Promise<void> {
  const preload = join(import.meta.dirname, 'silent-worker.mjs');
  demo = new DemoProcess(
    { SILENCE: silence, BACKEND: 'wasm', WORKERS: '1', ...environment },
    '--import',
    preload,
  );
  url = await demo.listening();
  expect((await digit()).status).toBe(200);
}
const digit = () => postJson(`${url}/digits`, { pixels });
const health = async (probe: 'live' | 'ready') => {
  const { status, body } = await send(`${url}/health/${probe}`, {});
  return { ...(JSON.parse(body) as { code?: string; message?: string }), status };
};
const workerError = expect.objectContaining({
  status: 503,
  body: expect.stringContaining('ERR_BATCHING_WORKER'),
});

describe.each(adapters)("The demo's inference worker, alive and silent, %s", (adapter) => {
  it('in a loop: its batches are answered 503, and the queue goes on with a new worker', async () => {
    await start({ HTTP_ADAPTER: adapter, HEARTBEAT: '1500' });
    writeFileSync(silence, '');
    const answer = await digit();
    expect(answer).toEqual(workerError);
    expect(answer.headers['retry-after']).toBe('1');
    expect(existsSync(silence)).toBe(false);
    expect((await digit()).status).toBe(200);
    expect(await health('ready')).toMatchObject({ status: 200 });
    expect(await health('live')).toMatchObject({ status: 200 });
    expect(demo.output).toMatch(new RegExp(`${silent.source}was ended; started again now`));
  });

  it('in native code: every digit is answered 503, both probes say why, and SIGTERM ends the process', async () => {
    await start({ HTTP_ADAPTER: adapter, HEARTBEAT: '1500', SHUTDOWN_TIMEOUT: '1000' });
    execFileSync('mkfifo', [silence]);
    for (let i = 0; i < 3; i++) expect(await digit()).toEqual(workerError);
    const message = expect.stringMatching(stuck);
    expect(await health('ready')).toMatchObject({ status: 503, code: 'ERR_NOT_READY', message });
    expect(await health('live')).toMatchObject({ status: 503, code: 'ERR_NOT_LIVE', message });
    const asked = performance.now();
    demo.kill('SIGTERM');
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(performance.now() - asked).toBeLessThan(30_000);
  });

  it('in native code, before it was noticed: SIGTERM ends the process within SHUTDOWN_TIMEOUT', async () => {
    await start({ HTTP_ADAPTER: adapter, SHUTDOWN_TIMEOUT: '1000' });
    execFileSync('mkfifo', [silence]);
    const answer = digit().catch(() => undefined);
    await sleep(200);
    const asked = performance.now();
    demo.kill('SIGTERM');
    expect(await demo.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(performance.now() - asked).toBeLessThan(30_000);
    await answer;
  });
});
