import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getTfjsModelToken,
  InferenceWorkerError,
  ModelNotReadyError,
  type TfjsBackend,
  type TfjsModel,
  TfjsModule,
  type TfjsModelOptions,
  type TfjsModuleOptions,
} from 'nest-batching/tfjs';
import { messages, recordingLogger } from '../inference/main/worker.fixture.js';
import {
  randomFloats,
  writeConvModel,
  writeDenseModel,
  writeFunctionalModel,
  writeModule,
} from './models.fixture.js';

/**
 * Returns the number of the thread that ran it. An input of n > 0 takes n milliseconds, one of -1 never
 * ends, and one of -2 ends the thread.
 */
const slow = writeModule(`
  import { threadId } from 'node:worker_threads';
  export const inputs = { x: { shape: [1] } };
  export const run = async (tf, x) => {
    const longest = Math.max(...(await x.data()));
    if (longest === -1) await new Promise(() => {});
    if (longest === -2) process.exit(9);
    await new Promise((resolve) => setTimeout(resolve, longest));
    return tf.fill(x.shape, threadId);
  };`);

describe('Several inference workers', () => {
  const apps: TestingModule[] = [];
  const { logger, logged } = recordingLogger();
  /** Nothing ends the threads of an application that could not start, and they still get heartbeats. */
  const former = new Set<Worker>();
  async function start(
    options: TfjsModuleOptions,
    models: Record<string, Omit<TfjsModelOptions, 'name'>>,
  ): Promise<(name: string) => TfjsModel> {
    const app = await Test.createTestingModule({
      imports: [
        TfjsModule.forRoot({ backend: 'cpu', workers: 2, ...options }),
        TfjsModule.forFeature(Object.entries(models).map(([name, model]) => ({ name, ...model }))),
      ],
    })
      .setLogger(logger)
      .compile();
    apps.push(app);
    return (name) => app.get<TfjsModel>(getTfjsModelToken(name), { strict: false });
  }
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()));
    for (const worker of threads().values()) former.add(worker);
    logged.length = 0;
    messages.mockClear();
  });

  /** The threads of this test that run, by their numbers. */
  function threads(): Map<number, Worker> {
    const running = new Map<number, Worker>();
    for (const worker of messages.mock.contexts as Worker[]) {
      if (worker.threadId > 0 && !former.has(worker)) running.set(worker.threadId, worker);
    }
    return running;
  }
  /** Ends a thread. @returns its number */
  async function kill(thread = [...threads().keys()][0] ?? NaN): Promise<number> {
    await threads().get(thread)?.terminate();
    return thread;
  }
  const threadOf = async (predicted: Promise<Float32Array[]>) => (await predicted)[0]?.[0];
  async function until(what: () => boolean): Promise<void> {
    const deadline = Date.now() + 20_000;
    while (!what()) {
      expect(Date.now()).toBeLessThan(deadline);
      await sleep(10);
    }
  }

  it.each<TfjsBackend>(['wasm', 'cpu'])('give the same results as one, in order, on %s', async (backend) => {
    const models = { conv: writeConvModel(), functional: writeFunctionalModel() };
    const sources = { conv: { path: models.conv.path }, functional: { path: models.functional.path } };
    const [one, several] = [await start({ backend, workers: 1 }, sources), await start({ backend }, sources)];
    const inputs = Array.from({ length: 40 }, (_, i) => randomFloats(72, i));
    const named = inputs.map(([a = 0, b = 0, c = 0, d = 0, e = 0]) => ({ left: [a, b, c], right: [d, e] }));
    for (const size of [1, 2, 3, 7, 16, 33, 40]) {
      const batch = inputs.slice(0, size);
      const expected = (await one('conv').predict(batch)).map((result) =>
        [...result].map((score) => expect.closeTo(score, 5) as unknown),
      );
      // Several times: whole, in parts, and at the same time.
      for (let i = 0; i < 4; i++) {
        const results = await Promise.all([several('conv').predict(batch), several('conv').predict(batch)]);
        for (const result of results) expect(result.map((scores) => [...scores])).toEqual(expected);
      }
      expect(await several('functional').predict(named.slice(0, size))).toEqual(
        await one('functional').predict(named.slice(0, size)),
      );
    }
    const [memory, doubled] = [await one('conv').memory(), await several('conv').memory()];
    expect(doubled).toMatchObject({ tensors: 2 * memory.tensors, bytes: 2 * memory.bytes });
  });

  it('run batches at the same time, and split one that finds all idle', async () => {
    const model = (await start({}, { slow: { path: slow } }))('slow');
    const both = await Promise.all([threadOf(model.predict([[50]])), threadOf(model.predict([[50]]))]);
    expect(new Set(both).size).toBe(2);
    const seen = new Set<string>();
    for (let i = 0; i < 8; i++) {
      const results = await model.predict(Array.from({ length: 6 }, () => [1]));
      const found = results.map(([thread]) => thread);
      seen.add(String(new Set(found).size));
      // A part is a run of inputs.
      expect(found).toEqual([...found].sort((a, b) => (a === found[0] ? -1 : b === found[0] ? 1 : 0)));
    }
    expect([...seen].sort()).toEqual(['1', '2']);
  });

  it('are warmed up and tested each, and again after a death', async () => {
    const { path, reference } = writeDenseModel();
    const selfTest = { input: [1, 2, 3], expected: reference([1, 2, 3]) };
    const model = (await start({}, { m: { path, batchSizes: [1, 4], selfTest } }))('m');
    const warmUps = () => logged.filter((line) => line.includes('warmed up with batches of 1, 4'));
    expect(warmUps()).toHaveLength(2);
    expect(logged).toContainEqual(expect.stringMatching(/^2 inference workers \(CPUs: \d+\); each takes/));
    expect(logged).toContain("model 'm' is loaded in 2 workers, whose models take 0.0 MB each");
    await kill();
    await until(() => warmUps().length === 3);
    expect(model.ready).toBe(true);
  });

  it('add one listener to the process, however many they are', async () => {
    const before = process.listenerCount('exit');
    await start({ workers: 3 }, { slow: { path: slow } });
    expect(process.listenerCount('exit')).toBeLessThanOrEqual(before + 1);
  });

  it('refuse a model that fails its self-test in any of them', async () => {
    const second = writeModule(`
      import { threadId } from 'node:worker_threads';
      export const inputs = { x: { shape: [1] } };
      export const load = () => process.wrong = process.wrong ?? threadId % 2;
      export const run = (tf, x) => tf.add(x, process.wrong);`);
    await expect(
      start({}, { m: { path: second, selfTest: { input: [1], expected: [1] } } }),
    ).rejects.toBeInstanceOf(ModelNotReadyError);
  });

  it('go on when one is killed in mid-batch: it fails its batch only, and is started again', async () => {
    const model = (await start({}, { slow: { path: slow } }))('slow');
    const running = [model.predict([[2000]]), model.predict([[2000]])];
    const settled = Promise.allSettled(running);
    await sleep(50);
    const killed = await kill();
    expect(model.ready).toBe(true);
    const [alive] = [...threads().keys()].filter((thread) => thread !== killed);
    const outcomes = await settled;
    const failed = outcomes
      .filter((outcome) => outcome.status === 'rejected')
      .map(({ reason }) => reason as unknown);
    expect(failed).toHaveLength(1);
    expect(failed[0]).toBeInstanceOf(InferenceWorkerError);
    expect(failed[0]).toHaveProperty(
      'message',
      expect.stringMatching(/^inference worker [12] of 2 died \(exit code 1\)$/),
    );
    expect(outcomes).toContainEqual({ status: 'fulfilled', value: [Float32Array.of(alive ?? NaN)] });
    await until(() => threads().size === 2);
    await expect(model.predict([[1]])).resolves.toHaveLength(1);
    expect(logged).toContainEqual(
      expect.stringMatching(/^inference worker [12] of 2 died .*; started again now$/),
    );
  });

  it('reject a split batch when one of them dies of it, and run others', async () => {
    const model = (await start({}, { slow: { path: slow } }))('slow');
    const idle = [...threads().keys()];
    // Until a batch is split.
    for (const seen = new Set<unknown>(); seen.size < 2;) {
      const results = await model.predict([[1], [1]]);
      for (const [thread] of results) seen.add(thread);
    }
    const split = model.predict([[100], [-2]]);
    const next = model.predict([[1]]).catch((error: unknown) => error);
    await expect(split).rejects.toBeInstanceOf(InferenceWorkerError);
    await next;
    await expect(model.predict([[1]])).resolves.toHaveLength(1);
    await until(() => threads().size === 2);
    expect([...threads().keys()].filter((thread) => idle.includes(thread))).toHaveLength(1);
  });

  it('reject their batches when all are killed, and serve the next at once', async () => {
    const model = (await start({}, { slow: { path: slow } }))('slow');
    const running = [model.predict([[2000]]), model.predict([[2000]])];
    const settled = Promise.allSettled(running);
    await sleep(50);
    await Promise.all([...threads().keys()].map(kill));
    for (const outcome of await settled) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_BATCHING_WORKER' } });
    }
    await expect(Promise.all([model.predict([[1]]), model.predict([[1]])])).resolves.toHaveLength(2);
    await until(() => threads().size === 2);
    expect(model.ready).toBe(true);
  });

  it('are ended and replaced one by one when they are silent', async () => {
    const model = (await start({ heartbeat: 1000 }, { slow: { path: slow } }))('slow');
    const [silent, other] = [model.predict([[-1]]), model.predict([[200]])];
    await expect(silent).rejects.toThrow(/^inference worker [12] of 2 gave no answer to model 'slow' for/);
    await expect(other).resolves.toHaveLength(1);
    expect(model.unresponsive).toBeUndefined();
    await expect(model.predict([[1]])).resolves.toHaveLength(1);
  });

  it('finish all batches at shutdown', async () => {
    const model = (await start({}, { slow: { path: slow } }))('slow');
    const asked = Array.from({ length: 20 }, (_, i) => model.predict([[i], [30]]));
    await Promise.all(apps.splice(0).map((app) => app.close()));
    await expect(Promise.all(asked)).resolves.toHaveLength(20);
    await expect(model.predict([[1]])).rejects.toMatchObject({ code: 'ERR_BATCHING_STOPPED' });
    expect(threads().size).toBe(0);
  });

  describe('when files have changed and one is started again', () => {
    const input = [1, 2, 3];
    const close = (scores: number[]) => scores.map((score) => expect.closeTo(score, 5) as unknown);

    it('have the same weights in every batch, and in all of them at the end', async () => {
      const [before, after] = [writeDenseModel({ seed: 3 }), writeDenseModel({ seed: 4 })];
      const [old] = before.reference(input);
      const model = (await start({}, { m: { path: before.path } }))('m');
      cpSync(after.path, before.path, { recursive: true });
      const isOld = async () => {
        const results = await model.predict(Array.from({ length: 8 }, () => input));
        expect(new Set(results.map(String)).size).toBe(1);
        return Math.abs((results[0]?.[0] ?? NaN) - (old ?? NaN)) < 1e-5;
      };
      await kill();
      const seen: boolean[] = [];
      const taken = () => logged.filter((line) => line.includes('the changed model is used')).length;
      await until(() => {
        void isOld().then((old) => seen.push(old));
        return taken() === 2;
      });
      for (let i = 0; i < 10; i++) seen.push(await isOld());
      // The weights change once, and for good.
      expect(seen.indexOf(false)).toBeGreaterThan(0);
      expect(seen.lastIndexOf(true)).toBeLessThan(seen.indexOf(false));
      const [result = []] = await model.predict([input]);
      expect([...result]).toEqual(close(after.reference(input)));
      expect(threads().size).toBe(2);
    });

    it('go on with the former weights while the files are broken', async () => {
      const { path, reference } = writeDenseModel();
      const kept = writeDenseModel().path;
      const model = (await start({}, { m: { path } }))('m');
      rmSync(join(path, 'weights.bin'));
      await kill();
      await until(() => logged.some((line) => line.includes('weights.bin is missing')));
      expect(model.ready).toBe(true);
      const [result = []] = await model.predict([input]);
      expect([...result]).toEqual(close(reference(input)));
      cpSync(kept, path, { recursive: true });
      await until(() => logged.includes("model 'm' is ready again"));
      // Now the other one: the first takes over.
      await kill();
      await expect(model.predict([input])).resolves.toHaveLength(1);
    });

    it('are not ready when none can load them', async () => {
      const { path } = writeDenseModel();
      const kept = writeDenseModel().path;
      const model = (await start({}, { m: { path } }))('m');
      rmSync(join(path, 'weights.bin'));
      await Promise.all([...threads().keys()].map(kill));
      await until(() => logged.filter((line) => line.includes('weights.bin is missing')).length === 2);
      expect(model.ready).toBe(false);
      await expect(model.predict([input])).rejects.toBeInstanceOf(ModelNotReadyError);
      cpSync(kept, path, { recursive: true });
      await until(() => model.ready);
      await expect(model.predict([input])).resolves.toHaveLength(1);
    });
  });
});
