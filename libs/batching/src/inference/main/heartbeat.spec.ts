import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { getTfjsModelToken, InferenceWorkerError, type TfjsModel, TfjsModule } from 'nest-batching/tfjs';
import { Heartbeat } from './heartbeat.js';
import { temporaryFolder, writeModule } from '../../tfjs/models.fixture.js';

describe('Heartbeat', () => {
  let now: number;
  const onSilence = jest.fn<(silence: number) => void>();
  beforeEach(() => {
    now = 0;
    onSilence.mockClear();
    jest.useFakeTimers({ doNotFake: ['performance', 'nextTick', 'queueMicrotask'] });
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });
  afterEach(() => {
    jest.useRealTimers();
    jest.restoreAllMocks();
  });
  /** Time in which the event loop turns. */
  function pass(milliseconds: number): void {
    for (const end = now + milliseconds; now < end;) {
      now += 1;
      jest.advanceTimersByTime(1);
    }
  }
  /** Time in which the process stands still. */
  function suspend(milliseconds: number): void {
    now += milliseconds;
  }

  it('reports a silence that lasts as long as the limit, once', () => {
    const heartbeat = new Heartbeat(1000);
    onSilence.mockImplementation(() => {
      heartbeat.stop();
    });
    heartbeat.start(onSilence);
    pass(999);
    expect(onSilence).not.toHaveBeenCalled();
    pass(2);
    expect(onSilence.mock.calls).toEqual([[1000]]);
    pass(5000);
    expect(onSilence).toHaveBeenCalledTimes(1);
  });

  it('has a timer only while an answer is awaited', () => {
    const heartbeat = new Heartbeat(1000);
    expect(jest.getTimerCount()).toBe(0);
    heartbeat.start(onSilence);
    expect(jest.getTimerCount()).toBe(1);
    heartbeat.beat();
    heartbeat.start(onSilence);
    expect(jest.getTimerCount()).toBe(1);
    heartbeat.beat();
    heartbeat.stop();
    expect(jest.getTimerCount()).toBe(0);
    const unlimited = new Heartbeat(Infinity);
    unlimited.start(onSilence);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('measures from the last answer, not from the call', () => {
    const heartbeat = new Heartbeat(1000);
    heartbeat.start(onSilence);
    for (let i = 0; i < 5; i++) {
      pass(300);
      heartbeat.beat();
      heartbeat.start(onSilence);
    }
    pass(999);
    expect(onSilence).not.toHaveBeenCalled();
    pass(2);
    expect(onSilence).toHaveBeenCalledTimes(1);
  });

  it('allows three times the longest batch so far, even if the limit is lower', () => {
    const heartbeat = new Heartbeat(1000);
    heartbeat.start(onSilence);
    pass(900);
    heartbeat.beat();
    heartbeat.stop();
    expect(heartbeat.limit).toBe(2700);
    heartbeat.start(onSilence);
    pass(2699);
    expect(onSilence).not.toHaveBeenCalled();
    pass(2);
    expect(onSilence).toHaveBeenCalledTimes(1);
  });

  it.each([500, 60_000])('measures anew after the process was paused for %i ms', (stop) => {
    const heartbeat = new Heartbeat(1000);
    heartbeat.start(onSilence);
    pass(900);
    suspend(stop);
    pass(999);
    expect(onSilence).not.toHaveBeenCalled();
    heartbeat.beat();
    expect(heartbeat.limit).toBeLessThan(3001);
    heartbeat.start(onSilence);
    pass(heartbeat.limit + 1);
    expect(onSilence).toHaveBeenCalledTimes(1);
  });

  it('accepts an answer that is unread when the limit is reached', () => {
    const heartbeat = new Heartbeat(1000);
    heartbeat.start(onSilence);
    pass(875);
    // One look, late by less than the process that stands still, and then the answer in the same turn.
    suspend(200);
    jest.advanceTimersToNextTimer();
    heartbeat.beat();
    heartbeat.stop();
    pass(5000);
    expect(onSilence).not.toHaveBeenCalled();
  });
});

describe('A worker that is alive and silent', () => {
  let app: TestingModule | undefined;
  const logged: string[] = [];
  const log = (message: string) => logged.push(message);
  async function start(path: string, heartbeat: number, batchSizes?: number[]): Promise<TfjsModel> {
    app = await Test.createTestingModule({
      imports: [
        TfjsModule.forRoot({ backend: 'cpu', heartbeat }),
        TfjsModule.forFeature([{ name: 'odd', path, batchSizes }]),
      ],
    })
      .setLogger({ log, warn: log, error: log, fatal: log })
      .compile();
    return app.get<TfjsModel>(getTfjsModelToken('odd'), { strict: false });
  }
  afterEach(async () => {
    await app?.close();
    logged.length = 0;
  });

  const silences = {
    'loops in JavaScript': 'for (;;);',
    // (module (func (export "f") (loop (br 0))))
    'loops in WebAssembly': `
      const bytes = 'AGFzbQEAAAABBAFgAAADAgEABwUBAWYAAAoJAQcAA0AMAAsL';
      new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(bytes, 'base64'))).exports.f();`,
    'waits for a promise that never settles': 'await new Promise(() => {});',
    'waits for a notification that never comes':
      'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);',
  };
  it.each(Object.entries(silences))('is ended and replaced: it %s', async (_, silence) => {
    const model = await start(silentAt666(silence), 300);
    const failed = model.predict([[666]]);
    const behind = model.predict([[7]]);
    for (const predicted of [failed, behind]) {
      await expect(predicted).rejects.toBeInstanceOf(InferenceWorkerError);
      await expect(predicted).rejects.toMatchObject({
        code: 'ERR_BATCHING_WORKER',
        message: expect.stringMatching(
          /^the inference worker gave no answer to model 'odd' for \d+ ms and was ended$/,
        ) as unknown,
      });
    }
    await expect(model.predict([[7]])).resolves.toEqual([Float32Array.of(7)]);
    expect(model.unresponsive).toBeUndefined();
    expect(logged).toContainEqual(
      expect.stringMatching(/^the inference worker gave no answer to model 'odd' .*; started again now$/),
    );
  });

  it('may take any time to load and to warm up', async () => {
    const slow = writeModule(`
      import { setTimeout as sleep } from 'node:timers/promises';
      export const inputs = { x: { shape: [1] } };
      export const load = () => sleep(500);
      export const run = async (tf, x) => {
        if ((await x.data())[0] === 0) await sleep(500);
        return x;
      };`);
    const model = await start(slow, 200, [1, 2]);
    await expect(model.predict([[7]])).resolves.toHaveLength(1);
    expect(logged.filter((line) => line.includes('gave no answer'))).toEqual([]);
  });

  it('is measured per batch, not by the number of waiting batches', async () => {
    const model = await start(
      silentAt666('', `await new Promise((resolve) => setTimeout(resolve, 100));`),
      2000,
    );
    const results = await Promise.all(Array.from({ length: 30 }, (_, i) => model.predict([[i]])));
    expect(results).toHaveLength(30);
  });

  it('is not ended for a blocked event loop', async () => {
    const model = await start(
      silentAt666('', `await new Promise((resolve) => setTimeout(resolve, 100));`),
      500,
    );
    const predicted = model.predict([[7]]);
    for (const end = performance.now() + 1500; performance.now() < end;);
    await expect(predicted).resolves.toEqual([Float32Array.of(7)]);
    expect(logged.filter((line) => line.includes('gave no answer'))).toEqual([]);
  });

  it.each([0, -1, NaN, '1000'])('is refused a heartbeat of %j', async (heartbeat) => {
    await expect(start(silentAt666(''), heartbeat as number)).rejects.toThrow(
      new RangeError(
        `TfjsModule: heartbeat must be a number of milliseconds above 0, or Infinity; it is ${heartbeat}`,
      ),
    );
    app = undefined;
  });
});

describe('A process with a silent worker', () => {
  /** A program with a model that is silent at 666. */
  function program(path: string, heartbeat: number, body: string): string[] {
    const script = `
      const { NestFactory } = require('@nestjs/core');
      import('./dist/libs/batching/tfjs/index.js').then(async ({ TfjsModule, getTfjsModelToken }) => {
        class AppModule {}
        const { BatchingModule } = await import('./dist/libs/batching/index.js');
        const imports = [
          BatchingModule.forRoot({ shutdownTimeout: 300 }),
          TfjsModule.forRoot({ backend: 'cpu', heartbeat: ${heartbeat} }),
          TfjsModule.forFeature([{ name: 'odd', path: '${path}' }]),
        ];
        const app = await NestFactory.createApplicationContext({ module: AppModule, imports }, { logger: false });
        const model = app.get(getTfjsModelToken('odd'), { strict: false });
        const outcome = (promise) => promise.then(([[value]]) => value, ({ code, message }) => ({ code, message }));
        const say = (what) => process.stdout.write(JSON.stringify(what) + '\\n');
        ${body}
      });`;
    return ['-r', 'reflect-metadata', '-e', script];
  }
  /** A pipe without a writer, whose opening is a call of the system that no thread comes back from. */
  function pipe(): string {
    const path = join(temporaryFolder(), 'pipe');
    execFileSync('mkfifo', [path]);
    return path;
  }
  const inNativeCode = (path: string) =>
    silentAt666(`(await import('node:fs')).openSync(${JSON.stringify(path)});`);
  const stuck = {
    code: 'ERR_BATCHING_WORKER',
    message: expect.stringMatching(
      /^the inference worker gave no answer to model 'odd' for \d+ ms and cannot be ended: it is stuck in native code; restart the process$/,
    ) as unknown,
  };

  // A signal whose default ends the process, as Nest raises it again after its hooks; and an exit, which
  // waits for threads.
  it.each([
    ['a signal', "process.kill(process.pid, 'SIGTERM');", 'SIGTERM'],
    ['an exit', 'process.exit(0);', 'SIGKILL'],
    ['nothing left to do', '', 'SIGKILL'],
  ])('rejects at once while it is stuck in native code, closes and ends, by %s', async (_, end, signal) => {
    const args = program(
      inNativeCode(pipe()),
      300,
      `
      say(await Promise.all([outcome(model.predict([[666]])), outcome(model.predict([[7]]))]));
      say([model.ready, model.unresponsive.code, model.unresponsive.message]);
      const asked = performance.now();
      say([await outcome(model.predict([[7]]))]);
      await outcome(model.memory());
      await app.close();
      say(performance.now() - asked < 1000);
      ${end}`,
    );
    const child = promisify(execFile)(process.execPath, args, { timeout: 25_000, killSignal: 'SIGINT' });
    const failure = (await child.catch((error: unknown) => error)) as { signal: string; stdout: string };
    const lines = failure.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(lines).toEqual([[stuck, stuck], [false, stuck.code, stuck.message], [stuck], true]);
    expect(failure.signal).toBe(signal);
  });

  it('goes on with a new worker if the native code returns after all', async () => {
    const path = pipe();
    const args = program(
      inNativeCode(path),
      300,
      `
      say(await outcome(model.predict([[666]])));
      const { closeSync, openSync } = require('node:fs');
      closeSync(openSync(${JSON.stringify(path)}, 'w'));
      while (!model.ready) await new Promise((resolve) => setTimeout(resolve, 10));
      say([model.unresponsive ?? null, await outcome(model.predict([[7]]))]);
      await app.close();`,
    );
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 25_000 });
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([stuck, [null, 7]]);
  });

  it('closes within the shutdownTimeout of the queues while it is stuck in native code', async () => {
    const args = program(
      inNativeCode(pipe()),
      60_000,
      `
      const predicted = outcome(model.predict([[666]]));
      await new Promise((resolve) => setTimeout(resolve, 100));
      const start = performance.now();
      await app.close();
      say([await predicted, performance.now() - start < 5000]);
      process.kill(process.pid, 'SIGTERM');`,
    );
    const child = promisify(execFile)(process.execPath, args, { timeout: 25_000, killSignal: 'SIGINT' });
    const failure = (await child.catch((error: unknown) => error)) as { signal: string; stdout: string };
    expect(failure.signal).toBe('SIGTERM');
    const message =
      'the inference worker should have ended and cannot be ended: it is stuck in native code; restart the process';
    expect(JSON.parse(failure.stdout)).toEqual([{ code: 'ERR_BATCHING_WORKER', message }, true]);
  });

  it('does not end a worker that was paused together with the process (SIGSTOP)', async () => {
    // Works for a third of a second, not counting the time in which it stood still.
    const busy = silentAt666(
      `process.stderr.write('running');
      let last = performance.now();
      for (let worked = 0; worked < 300;) {
        const now = performance.now();
        worked += Math.min(now - last, 5);
        last = now;
      }`,
    );
    const body = 'say(await outcome(model.predict([[666]]))); await app.close();';
    const child = spawn(process.execPath, program(busy, 1500, body));
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const exit = once(child, 'close');
    await once(child.stderr, 'data');
    child.kill('SIGSTOP');
    await sleep(2500);
    child.kill('SIGCONT');
    expect(await exit).toEqual([0, null]);
    expect(JSON.parse(output)).toBe(666);
  });
});

/** A model that returns its input, and runs the given code first when that is 666. */
function silentAt666(silence: string, always = ''): string {
  return writeModule(`
    export const inputs = { x: { shape: [1] } };
    export const run = async (tf, x) => {
      const [value] = await x.data();
      if (value === 666) { ${silence} }
      ${always}
      return x;
    };`);
}
