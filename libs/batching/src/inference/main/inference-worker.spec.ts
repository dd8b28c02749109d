import { spawnSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getTfjsModelToken,
  InferenceError,
  InferenceWorkerError,
  ModelNotReadyError,
  type TfjsModel,
  TfjsModule,
  type TfjsModelOptions,
} from 'nest-batching/tfjs';
import { randomFloats, writeDenseModel, writeModule } from '../../tfjs/models.fixture.js';
import { lastWorker, recordingLogger } from './worker.fixture.js';

const small = writeDenseModel();
/** On `cpu` a batch of 100 takes some tenths of a second. */
const large = writeDenseModel({ inputs: 1000, units: 1000 });
const largeBatch = Array.from({ length: 100 }, (_, i) => randomFloats(1000, i));

describe('the inference worker', () => {
  let app: TestingModule | undefined;
  const { logger, logged } = recordingLogger();
  async function start(
    models: Record<string, string>,
    backend: 'auto' | 'wasm' | 'cpu' = 'cpu',
    options: Partial<TfjsModelOptions> = {},
  ): Promise<(name: string) => TfjsModel> {
    app = await Test.createTestingModule({
      imports: [
        TfjsModule.forRoot({ backend }),
        TfjsModule.forFeature(Object.entries(models).map(([name, path]) => ({ name, path, ...options }))),
      ],
    })
      .setLogger(logger)
      .compile();
    const container = app;
    return (name) => container.get<TfjsModel>(getTfjsModelToken(name), { strict: false });
  }
  afterEach(async () => {
    await app?.close();
    logged.length = 0;
  });

  it('says which backend it took, on which device, and why it passed over others', async () => {
    const model = await start({ small: small.path }, 'auto');
    const { backend, device } = model('small');
    const [line = ''] = logged.filter((line) => line.startsWith('backend'));
    expect(line).toContain(`backend ${backend} on ${device}`);
    if (backend === 'wasm')
      expect(line).toContain('; passed over tensorflow: @tensorflow/tfjs-node-gpu is not');
    expect(logged).toContain("model 'small' loaded: [3] to [2]");
  });

  it('rejects its predictions when it is killed in mid-batch, and goes on with its models', async () => {
    const model = await start({ small: small.path, large: large.path });
    const running = model('large').predict(largeBatch);
    const waiting = model('small').predict([[1, 2, 3]]);
    await sleep(50);
    const killed = lastWorker().terminate();
    for (const predicted of [running, waiting]) {
      await expect(predicted).rejects.toBeInstanceOf(InferenceWorkerError);
      await expect(predicted).rejects.toMatchObject({ code: 'ERR_BATCHING_WORKER' });
    }
    const [result = []] = await model('small').predict([[1, 2, 3]]);
    await killed;
    expect([...result]).toEqual(
      small.reference([1, 2, 3]).map((score) => expect.closeTo(score, 5) as unknown),
    );
    await expect(model('large').predict(largeBatch)).resolves.toHaveLength(100);
  });

  it('serves a caller that tries again at once', async () => {
    const model = await start({ small: small.path, large: large.path });
    const again = model('large')
      .predict(largeBatch)
      .catch(() => model('small').predict([[1, 2, 3]]));
    await sleep(20);
    await lastWorker().terminate();
    await expect(again).resolves.toHaveLength(1);
  });

  it('logs the reason of its death', async () => {
    const model = await start({ small: small.path });
    await model('small').predict([[1, 2, 3]]);
    lastWorker().postMessage(null);
    await expect(model('small').predict([[1, 2, 3]])).rejects.toThrow(
      /^the inference worker died \(TypeError: .*null/,
    );
    expect(logged).toContainEqual(expect.stringMatching(/^the inference worker died .*; started again now$/));
  });

  it('rejects with the cause while a model cannot be loaded again, and recovers by itself', async () => {
    const { path } = writeDenseModel();
    const model = await start({ small: path });
    renameSync(path, `${path}-away`);
    await lastWorker().terminate();
    const rejected = model('small').predict([[1, 2, 3]]);
    await expect(rejected).rejects.toBeInstanceOf(ModelNotReadyError);
    await expect(rejected).rejects.toMatchObject({
      message: `model 'small' is not ready: ${path} is missing`,
      cause: { code: 'ERR_BATCHING_MODEL_FILE' },
    });
    renameSync(`${path}-away`, path);
    const deadline = Date.now() + 10_000;
    for (;;) {
      const back = await model('small')
        .predict([[1, 2, 3]])
        .catch(() => undefined);
      if (back) break;
      expect(Date.now()).toBeLessThan(deadline);
      await sleep(50);
    }
  });

  it('pauses between repeated deaths; meanwhile predictions reject at once', async () => {
    const model = await start({ small: small.path });
    await lastWorker().terminate();
    // Started again at once; killed before it could predict.
    await model('small').memory();
    await lastWorker().terminate();
    await sleep(10);
    expect(logged.at(-1)).toMatch(/started again in 200 ms$/);
    const asked = performance.now();
    await expect(model('small').predict([[1, 2, 3]])).rejects.toBeInstanceOf(InferenceWorkerError);
    expect(performance.now() - asked).toBeLessThan(50);
    await sleep(1500);
    await expect(model('small').predict([[1, 2, 3]])).resolves.toHaveLength(1);
    // That prediction ended the row.
    await lastWorker().terminate();
    await expect(model('small').predict([[1, 2, 3]])).resolves.toHaveLength(1);
  });

  it('warms its models up at start-up, logs the progress, and does so again after a death', async () => {
    const slow = writeModule(`
      export const inputs = { x: { shape: [1] } };
      export const run = async (tf, x) => {
        await new Promise((resolve) => setTimeout(resolve, 600));
        return x;
      };`);
    const model = await start({ slow }, 'cpu', { batchSizes: [4, 1, 2] });
    const warmUp = [
      "model 'slow' is warming up: batches of 2 done, 2 of 3 sizes",
      expect.stringMatching(/^model 'slow' warmed up with batches of 1, 2, 4 in \d+ ms$/),
    ];
    expect(logged.filter((line) => line.includes('warm'))).toEqual(warmUp);
    expect(model('slow').ready).toBe(true);
    logged.length = 0;
    await lastWorker().terminate();
    expect(model('slow').ready).toBe(false);
    await expect(model('slow').predict([[7]])).resolves.toEqual([Float32Array.of(7)]);
    expect(model('slow').ready).toBe(true);
    expect(logged.filter((line) => line.includes('warm'))).toEqual(warmUp);
    await app?.close();
    expect(model('slow').ready).toBe(false);
  });

  it('does not start with a batch size that the model cannot run', async () => {
    const picky = writeModule(`
      export const inputs = { x: { shape: [1] } };
      export const run = (tf, x) => {
        if (x.shape[0] === 8) throw new Error('no room for 8');
        return x;
      };`);
    await expect(start({ picky }, 'cpu', { batchSizes: [1, 8] })).rejects.toThrow(
      "model 'picky' cannot run a batch of 8 on cpu: no room for 8",
    );
  });

  it('reuses its shared memory', async () => {
    const model = await start({ small: small.path });
    const predict = (size: number) => model('small').predict(Array.from({ length: size }, () => [1, 2, 3]));
    for (let size = 1; size <= 300; size++) await predict(size);
    // 300 inputs of three floats and their results of two: 6,000 bytes. One block of 4,096 bytes, and one of
    // 8,192.
    expect(await model('small').memory()).toMatchObject({ sharedBytes: 4096 + 8192 });
    await Promise.all(Array.from({ length: 50 }, () => predict(100)));
    expect(await model('small').memory()).toMatchObject({ sharedBytes: 4 * 4096 + 8192 });
  });

  it('fails the batch that runs out of memory, and no other', async () => {
    const hungry = writeModule(`
      export const inputs = { x: { shape: [1] } };
      export const run = (tf, x) => {
        // WebAssembly has 4 GiB.
        if (x.dataSync()[0] === 666) {
          for (let gib = 0; gib < 5; gib++) tf.engine().makeTensorFromTensorInfo(
            tf.backend().makeOutput([256, 1024, 1024], 'float32'));
        }
        return x;
      };`);
    const model = await start({ hungry, small: small.path }, 'wasm');
    for (let i = 0; i < 2; i++) {
      const failed = model('hungry').predict([[666]]);
      await expect(failed).rejects.toBeInstanceOf(InferenceError);
      await expect(failed).rejects.toThrow(
        "model 'hungry' failed on wasm: out of memory: WebAssembly has no room for a tensor of 1073741824 bytes",
      );
      const [result = []] = await model('small').predict([[1, 2, 3]]);
      expect([...result]).toEqual(
        small.reference([1, 2, 3]).map((score) => expect.closeTo(score, 5) as unknown),
      );
    }
    expect(logged.filter((line) => line.includes('died'))).toEqual([]);
  });

  it('starts again when a failure has broken its backend', async () => {
    const breaking = writeModule(`
      export const inputs = { x: { shape: [1] } };
      export const run = (tf, x) => {
        if (x.dataSync()[0] !== 666) return x;
        tf.backend().read = () => Promise.reject(new Error('the device is gone'));
        throw new Error('broken');
      };`);
    const model = await start({ breaking });
    await expect(model('breaking').predict([[666]])).rejects.toThrow(
      "model 'breaking' failed on cpu: broken",
    );
    // It dies of it, with this prediction or before.
    const again = await model('breaking')
      .predict([[1]])
      .catch(() => model('breaking').predict([[1]]));
    expect(again).toEqual([Float32Array.of(1)]);
    expect(logged).toContainEqual('the inference worker died (Error: the device is gone); started again now');
  });

  it('ends at shutdown, after its time limit, with a model that never answers', async () => {
    const endless = writeModule(`
      export const inputs = { x: { shape: [1] } };
      export const run = async (tf, x) => {
        if ((await x.data())[0] === 666) await new Promise(() => {});
        return x;
      };`);
    const ended = 'the inference worker has not finished within 10000 ms and is ended';
    const model = await start({ endless });
    jest.useFakeTimers({ doNotFake: ['nextTick', 'performance', 'queueMicrotask', 'setImmediate'] });
    try {
      const stuck = model('endless').predict([[666]]);
      const closed = app?.close();
      await jest.advanceTimersByTimeAsync(9_999);
      expect(logged).not.toContain(ended);
      await jest.advanceTimersByTimeAsync(1);
      await expect(stuck).rejects.toBeInstanceOf(InferenceWorkerError);
      await closed;
      expect(logged).toContain(ended);
    } finally {
      jest.useRealTimers();
    }
  });

  it('leaves the event loop free', async () => {
    const model = await start({ large: large.path });
    // What blocks it is there in each round; what another process does is not.
    const shares: number[] = [];
    for (let round = 0; round < 3; round++) {
      const delay = monitorEventLoopDelay({ resolution: 5 });
      const started = performance.now();
      delay.enable();
      await Promise.all([1, 2, 3].map(() => model('large').predict(largeBatch)));
      delay.disable();
      const perBatch = (performance.now() - started) / 3;
      expect(perBatch).toBeGreaterThan(50);
      shares.push(delay.max / 1e6 / perBatch);
    }
    expect(Math.min(...shares)).toBeLessThan(1 / 3);
  });

  it('keeps the process alive for a prediction, but no longer; and TensorFlow.js prints nothing', () => {
    const script = `
      const { NestFactory } = require('@nestjs/core');
      import('./dist/libs/batching/tfjs/index.js').then(async ({ TfjsModule, getTfjsModelToken }) => {
        class AppModule {}
        const imports = [
          TfjsModule.forRoot({ backend: 'cpu' }),
          TfjsModule.forFeature([{ name: 'small', path: '${small.path}' }]),
        ];
        const app = await NestFactory.createApplicationContext({ module: AppModule, imports }, { logger: false });
        const model = app.get(getTfjsModelToken('small'), { strict: false });
        void model.predict([[1, 2, 3]]).then(() => process.stdout.write('predicted'));
      });
    `;
    const { status, stdout, stderr } = spawnSync(process.execPath, ['-r', 'reflect-metadata', '-e', script], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'predicted', stderr: '' });
  });
});
