import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getTfjsModelToken,
  InferenceError,
  InferenceWorkerError,
  type TfjsModel,
  TfjsModule,
  UnsupportedModelError,
} from 'nest-batching/tfjs';
import { describeOn } from './backends.fixture.js';
import { writeDenseModel, writeGraphModel, writeModule } from './models.fixture.js';

// What has to go wrong in the same way on every backend. What inputs are refused for is in tfjs-model.spec.ts.

const dense = writeDenseModel();

/** Does what its input says. */
const faulty = writeModule(`
  export const inputs = { what: { shape: [1] } };
  export const run = async (tf, what) => {
    const [fault] = await what.data();
    const faults = {
      // 4 TiB, which no machine gives. (TensorFlow waits 10 s for memory to be freed.)
      1: () => tf.add(tf.zeros([2 ** 20, 1]), tf.ones([1, 2 ** 20])),
      2: () => tf.engine().runKernel('NoSuchKernel', { x: what }),
      3: () => process.exit(9),
      4: () => { throw { not: 'an error' }; },
    };
    const result = await faults[fault]?.();
    return result ? tf.slice(result, [0, 0], [what.shape[0], 1]) : tf.neg(what);
  };
`);
const outOfMemory = 1;
const missingKernel = 2;
const death = 3;
const thrownObject = 4;

for (const backend of ['tensorflow', 'webgpu', 'wasm', 'cpu'] as const) {
  await describeOn(backend, 'a fault', () => {
    let app: TestingModule;
    const model = (name: string) => app.get<TfjsModel>(getTfjsModelToken(name), { strict: false });
    const start = (path: string) =>
      Test.createTestingModule({
        imports: [TfjsModule.forRoot({ backend }), TfjsModule.forFeature([{ name: 'model', path }])],
      }).compile();
    const expectHealthy = async () => {
      const [result = []] = await model('dense').predict([[1, 2, 3]]);
      const expected = dense.reference([1, 2, 3]);
      expect([...result]).toEqual(expected.map((score) => expect.closeTo(score, 4) as unknown));
      expect(await model('faulty').predict([[0], [-7]])).toEqual([Float32Array.of(-0), Float32Array.of(7)]);
    };

    beforeAll(async () => {
      app = await Test.createTestingModule({
        imports: [
          TfjsModule.forRoot({ backend }),
          TfjsModule.forFeature([
            { name: 'dense', path: dense.path },
            { name: 'faulty', path: faulty },
          ]),
        ],
      })
        .setLogger({ log: () => undefined, warn: () => undefined, error: () => undefined })
        .compile();
    });
    afterAll(() => app.close());

    it.each([
      ['runs out of memory', outOfMemory, /./],
      [
        'needs an op that the backend lacks',
        missingKernel,
        `'NoSuchKernel' not registered for backend '${backend}'`,
      ],
      ['throws what is no error', thrownObject, "{ not: 'an error' }"],
    ])('fails the batch that %s, and no other', async (_, fault, message) => {
      const { tensors } = await model('dense').memory();
      const failed = model('faulty').predict([[fault]]);
      const next = model('dense').predict([[1, 2, 3]]);
      await expect(failed).rejects.toBeInstanceOf(InferenceError);
      await expect(failed).rejects.toThrow(message);
      await expect(failed).rejects.toThrow(`model 'faulty' failed on ${backend}: `);
      await expect(next).resolves.toHaveLength(1);
      await expectHealthy();
      expect(await model('dense').memory()).toHaveProperty('tensors', tensors);
    });

    it('rejects its predictions when the worker dies in mid-batch, and goes on with its models', async () => {
      const failed = model('faulty').predict([[death]]);
      const waiting = model('dense').predict([[1, 2, 3]]);
      for (const predicted of [failed, waiting]) {
        await expect(predicted).rejects.toBeInstanceOf(InferenceWorkerError);
        await expect(predicted).rejects.toThrow('the inference worker died (exit code 9)');
      }
      await expectHealthy();
    });

    it('does not start with a model that has an unknown op', async () => {
      const started = start(writeGraphModel({ op: 'NoSuchOp' }).path);
      await expect(started).rejects.toBeInstanceOf(UnsupportedModelError);
      await expect(started).rejects.toThrow('NoSuchOp');
    });
  });
}

describe('the JavaScript of the inference worker', () => {
  it('runs out of memory without the application, and is started again', () => {
    const greedy = writeModule(`
      export const inputs = { x: { shape: [1] } };
      export const run = async (tf, x) => {
        const kept = [];
        while ((await x.data())[0] === 666) kept.push(Array.from({ length: 1000 }, (_, i) => ({ i })));
        return x;
      };`);
    const script = `
      const { NestFactory } = require('@nestjs/core');
      import('./dist/libs/batching/tfjs/index.js').then(async ({ TfjsModule, getTfjsModelToken }) => {
        class AppModule {}
        const imports = [
          TfjsModule.forRoot({ backend: 'cpu' }),
          TfjsModule.forFeature([{ name: 'greedy', path: '${greedy}' }]),
        ];
        const app = await NestFactory.createApplicationContext({ module: AppModule, imports }, { logger: false });
        const model = app.get(getTfjsModelToken('greedy'), { strict: false });
        const { code, message } = await model.predict([[666]]).catch((error) => error);
        const [result] = await model.predict([[7]]);
        process.stdout.write(JSON.stringify({ code, message, result: [...result] }));
        await app.close();
      });
    `;
    const args = ['--max-old-space-size=100', '-r', 'reflect-metadata', '-e', script];
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 25_000 });
    expect({ status, ...(JSON.parse(stdout) as object) }).toEqual({
      status: 0,
      code: 'ERR_BATCHING_WORKER',
      message: expect.stringMatching(/^the inference worker died \(Error: .*memory/),
      result: [7],
    });
  });
});

await describeOn('tensorflow', 'a process', () => {
  it('ends normally when a worker has died, the last one was closed, and libraries are unloaded after that', () => {
    const script = `
      const { once } = require('node:events');
      const { Worker } = require('node:worker_threads');
      const { NestFactory } = require('@nestjs/core');
      import('./dist/libs/batching/tfjs/index.js').then(async ({ TfjsModule, getTfjsModelToken }) => {
        class AppModule {}
        const imports = [
          TfjsModule.forRoot({ backend: 'tensorflow' }),
          TfjsModule.forFeature([{ name: 'faulty', path: '${faulty}' }]),
        ];
        const app = await NestFactory.createApplicationContext({ module: AppModule, imports }, { logger: false });
        const model = app.get(getTfjsModelToken('faulty'), { strict: false });
        const { code } = await model.predict([[${death}]]).catch((error) => error);
        const [result] = await model.predict([[-7]]);
        await app.close();
        // With the end of this thread Node closes the addon, and then the linker unloads whatever it may.
        const load = "try { require('@tensorflow/tfjs-node-gpu') } catch { require('@tensorflow/tfjs-node') }";
        const [exitCode] = await once(new Worker(load, { eval: true }), 'exit');
        process.stdout.write(JSON.stringify({ code, result: [...result], exitCode }));
      });
    `;
    const { status, signal, stdout } = spawnSync(process.execPath, ['-r', 'reflect-metadata', '-e', script], {
      encoding: 'utf8',
      timeout: 25_000,
    });
    expect({ status, signal, ...(JSON.parse(stdout) as object) }).toEqual({
      status: 0,
      signal: null,
      code: 'ERR_BATCHING_WORKER',
      result: [7],
      exitCode: 0,
    });
  });
});
