import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getTfjsModelToken,
  InferenceError,
  InferenceWorkerError,
  TfjsBackendError,
  type TfjsModel,
  TfjsModule,
  UnsupportedModelError,
} from 'nest-batching/tfjs';
import { recordingLogger } from '../inference/main/worker.fixture.js';
import {
  randomFloats,
  writeConvModel,
  writeDenseModel,
  writeGraphModel,
  writeModule,
} from './models.fixture.js';

// tfjs-model.spec.ts tests what all backends have in common; these are failures of this one.

/** Largest difference to `cpu`, relative for results above 1: they are sums of a thousand floats. */
const tolerance = 2e-5;

/** Does what its input says, with 1 in the end. */
const faulty = writeModule(`
  export const inputs = { what: { shape: [1] } };
  export const run = async (tf, what) => {
    const { device } = tf.backend();
    const work = () => tf.matMul(tf.ones([400, 400]), tf.fill([400, 400], 1 / 400));
    // Before Dawn looks for results for the first time.
    const inMidBatch = (act) => void setImmediate(act);
    const tooLarge = () => tf.add(tf.zeros([device.limits.maxStorageBufferBindingSize / 4 + 1]), 1);
    const faults = {
      1: () => tooLarge(),
      2: () => { tooLarge(); throw new Error('with commands that were not sent'); },
      3: () => inMidBatch(() => device.destroy()),
      4: () => inMidBatch(() => { throw new Error('from somewhere else'); }),
      5: () => work().dataSync(),
      6: () => tf.image.nonMaxSuppression(tf.slice(work(), [0, 0], [400, 4]), tf.max(work(), 1), 3),
    };
    const [fault] = await what.data();
    const result = faults[fault]?.();
    const [one] = await tf.slice(work(), [7, 7], [1, 1]).data();
    return result?.shape ? tf.slice(result, [0], [what.shape[0]]) : tf.fill(what.shape, Math.round(one * 1000) / 1000);
  };
`);
const validation = 1;
const half = 2;
const loss = 3;
const uncaught = 4;
const readSync = 5;
const suppression = 6;
const none = 0;

const conv = writeConvModel({ size: 20 });
const dense = writeDenseModel({ inputs: 300, units: 200 });
const graph = writeGraphModel();

const { logger, logged } = recordingLogger();

async function start(backend: 'webgpu' | 'cpu', models: Record<string, string>): Promise<TestingModule> {
  return Test.createTestingModule({
    imports: [
      TfjsModule.forRoot({ backend }),
      TfjsModule.forFeature(Object.entries(models).map(([name, path]) => ({ name, path }))),
    ],
  })
    .setLogger(logger)
    .compile();
}

async function whyNot(): Promise<string | undefined> {
  try {
    await (await start('webgpu', {})).close();
    return undefined;
  } catch (error) {
    if (error instanceof TfjsBackendError) return error.message;
    throw error;
  }
}

const missing = await whyNot();
if (missing) process.stderr.write(`SKIPPED: all specs of the backend webgpu. ${missing}\n`);

(missing ? describe.skip : describe)('the backend webgpu', () => {
  const models = { conv: conv.path, dense: dense.path, graph: graph.path, faulty };
  let app: TestingModule;
  const model = (name: string, of = app) => of.get<TfjsModel>(getTfjsModelToken(name), { strict: false });
  const rightResult = [Float32Array.of(1)];

  beforeAll(async () => {
    app = await start('webgpu', models);
  });
  afterAll(() => app.close());

  it('says on which device it runs', () => {
    expect(model('dense').backend).toBe('webgpu');
    expect(model('dense').device).toMatch(
      /^(GPU \(\w.*, (Vulkan|Metal|Direct3D)|CPU \(\w+, software Vulkan) through Dawn\)$/,
    );
  });

  it('agrees with cpu', async () => {
    const reference = await start('cpu', { conv: conv.path, dense: dense.path, graph: graph.path });
    for (const [name, length] of [
      ['conv', 800],
      ['dense', 300],
      ['graph', 4],
    ] as const) {
      for (const size of [1, 2, 7, 32, 33, 64]) {
        const inputs = Array.from({ length: size }, (_, i) => randomFloats(length, i));
        const [results, expected] = await Promise.all(
          [app, reference].map((of) => model(name, of).predict(inputs)),
        );
        const relative = expected?.flatMap((row, i) =>
          Array.from(
            row,
            (value, k) => Math.abs(value - (results?.[i]?.[k] ?? NaN)) / Math.max(1, Math.abs(value)),
          ),
        );
        expect(relative?.length).toBeGreaterThan(0);
        expect(Math.max(...(relative ?? []))).toBeLessThan(tolerance);
      }
    }
    await reference.close();
  });

  it.each([
    ['that it reads', validation],
    ['in commands that it leaves unsent', half],
  ])("rejects a batch with the GPU's own message %s, and no other batch", async (_, fault) => {
    for (let i = 0; i < 2; i++) {
      const failed = model('faulty').predict([[fault]]);
      const next = model('faulty').predict([[none]]);
      await expect(failed).rejects.toBeInstanceOf(InferenceError);
      await expect(failed).rejects.toThrow(
        /^model 'faulty' failed on webgpu: GPUValidationError: Binding size \(\d+\) of .* is larger than the maximum/,
      );
      expect(await next).toEqual(rightResult);
    }
  });

  it('keeps no unused memory of the GPU', async () => {
    const predict = (size: number) =>
      model('dense').predict(Array.from({ length: size }, () => randomFloats(300, size)));
    const everySize = async () => {
      for (const size of [1, 5, 30, 100]) await predict(size);
    };
    await everySize();
    const { gpuBytes, tensors } = await model('dense').memory();
    for (let i = 0; i < 20; i++) await everySize();
    expect(await model('dense').memory()).toMatchObject({ gpuBytes, tensors });
    expect(gpuBytes).toBeGreaterThan(300 * 200 * 4);
    // Failed buffers, which can be of any size, are not kept.
    await expect(model('faulty').predict([[validation]])).rejects.toBeInstanceOf(InferenceError);
    expect((await model('dense').memory()).gpuBytes).toBeLessThanOrEqual(gpuBytes ?? 0);
  });

  it.each([
    ['its device is lost', loss, 'WebGPU device lost: destroyed: device was destroyed'],
    ['an uncaught error ends its thread', uncaught, 'from somewhere else'],
  ])('rejects what it had when %s in mid-batch, and goes on with its models', async (_, fault, message) => {
    logged.length = 0;
    const failed = model('faulty').predict([[fault]]);
    const waiting = model('dense').predict([randomFloats(300, 1)]);
    for (const predicted of [failed, waiting]) {
      await expect(predicted).rejects.toBeInstanceOf(InferenceWorkerError);
      await expect(predicted).rejects.toThrow(`the inference worker died (Error: ${message})`);
    }
    expect(logged).toContainEqual(`the inference worker died (Error: ${message}); started again now`);
    expect(await model('faulty').predict([[none]])).toEqual(rightResult);
    const [result = []] = await model('dense').predict([randomFloats(300, 1)]);
    const expected = dense.reference(randomFloats(300, 1));
    expect([...result]).toEqual(expected.map((value) => expect.closeTo(value, 4) as unknown));
  });

  it.each([
    ['a module', readSync, /^model 'faulty' failed on webgpu: an op reads a tensor back synchronously, /],
    [
      'an op',
      suppression,
      /failed on webgpu: the op nonMaxSuppressionV3 reads a tensor back synchronously, /,
    ],
  ])('says so when %s reads synchronously, which Node cannot do', async (_, fault, message) => {
    await expect(model('faulty').predict([[fault]])).rejects.toThrow(message);
    expect(await model('faulty').predict([[none]])).toEqual(rightResult);
  });

  it.each([
    [
      'that reads synchronously',
      'tf.tensor(tf.add(x, 1).dataSync(), x.shape)',
      'an op reads a tensor back synchronously',
    ],
    [
      'that the GPU refuses',
      'tf.slice(tf.add(tf.zeros([tf.backend().device.limits.maxStorageBufferBindingSize / 4 + 1]), 1), [0], [x.shape[0]])',
      'GPUValidationError: Binding size',
    ],
  ])('does not start with a model %s', async (_, run, message) => {
    const model = writeModule(`
      export const inputs = { x: { shape: [2000] } };
      export const run = (tf, x) => ${run};
    `);
    const started = start('webgpu', { model });
    await expect(started).rejects.toBeInstanceOf(UnsupportedModelError);
    await expect(started).rejects.toThrow(`cannot be used on webgpu: ${message}`);
  });

  it('does not start, and does not crash the process, when the device is lost while a model is loaded', async () => {
    const model = writeModule(`
      export const inputs = { x: { shape: [1] } };
      export const load = (tf) => tf.backend().device.destroy();
      export const run = (tf, x) => tf.add(x, 1);
    `);
    const started = start('webgpu', { model });
    await expect(started).rejects.toBeInstanceOf(InferenceWorkerError);
    await expect(started).rejects.toThrow('the inference worker died (Error: WebGPU device lost: destroyed');
  });

  describe('ends without a crash', () => {
    /** A process with `app`, and with `run(size)` for a batch that takes the device long. */
    function runScript(script: string, path = writeDenseModel({ inputs: 1000, units: 1000 }).path) {
      const { status, signal, stdout } = spawnSync(
        process.execPath,
        [
          '-r',
          'reflect-metadata',
          '-e',
          `
          const { NestFactory } = require('@nestjs/core');
          import('./dist/libs/batching/tfjs/index.js').then(async ({ TfjsModule, getTfjsModelToken }) => {
            class AppModule {}
            const imports = [
              TfjsModule.forRoot({ backend: 'webgpu' }),
              TfjsModule.forFeature([{ name: 'large', path: '${path}' }]),
            ];
            const app = await NestFactory.createApplicationContext({ module: AppModule, imports }, { logger: false });
            const model = app.get(getTfjsModelToken('large'), { strict: false });
            const input = new Float32Array(1000).fill(1);
            const run = (size) => model.predict(Array.from({ length: size }, () => input));
            ${script}
          });
          `,
        ],
        { encoding: 'utf8', timeout: 30_000 },
      );
      return { status, signal, stdout };
    }

    it('after close()', () => {
      const ended = runScript(`
        await run(1);
        const last = run(200);
        await app.close();
        process.stdout.write('closed after ' + (await last).length);
      `);
      expect(ended).toEqual({ status: 0, signal: null, stdout: 'closed after 200' });
    });

    // The thread looked for reads to break off at the moment in which it was terminated: a SIGABRT in every hundredth end.
    it('after close(), with many tensors on the device', () => {
      const manyTensors = writeModule(`
        export const inputs = { x: { shape: [1000] } };
        export const load = (tf) => Array.from({ length: 5000 }, () => tf.add(tf.zeros([1]), 1));
        export const run = (tf, x, weights) => tf.add(x, weights[0]);
      `);
      const ended = runScript(
        `
        await run(1);
        await app.close();
        process.stdout.write('closed');
        `,
        manyTensors,
      );
      expect(ended).toEqual({ status: 0, signal: null, stdout: 'closed' });
    });

    it('without close(), when there is nothing left to do', () => {
      const ended = runScript(`process.stdout.write(String((await run(3)).length));`);
      expect(ended).toEqual({ status: 0, signal: null, stdout: '3' });
    });

    it.each([
      ['process.exit(7)', 7],
      ["setTimeout(() => { throw new Error('uncaught'); })", 1],
    ])('with its own exit code, after %s in mid-batch', (end, status) => {
      const ended = runScript(`
        void run(1000).catch(() => undefined);
        setTimeout(() => { ${end} }, 100);
      `);
      expect(ended).toEqual({ status, signal: null, stdout: '' });
    });
  });
});
