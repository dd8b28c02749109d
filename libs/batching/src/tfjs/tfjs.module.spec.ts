import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Global, Injectable, Module, type ModuleMetadata } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getModelToken,
  getTfjsModelToken,
  InjectModel,
  InjectTfjsModel,
  type InputShape,
  ModelFileError,
  TfjsBackendError,
  TfjsModel,
  TfjsModule,
  TfjsModuleError,
  UnsupportedModelError,
} from 'nest-batching/tfjs';
import {
  savedModel,
  writeConvModel,
  writeDenseModel,
  writeFunctionalModel,
  writeGraphModel,
  writeModule,
  writeOpenModel,
} from './models.fixture.js';

const dense = writeDenseModel();
const conv = writeConvModel();

@Injectable()
class Scorer {
  constructor(@InjectTfjsModel('dense') readonly model: TfjsModel) {}
}

const registryToken = 'BatchingRegistry of nest-batching';

describe('TfjsModule', () => {
  const apps: TestingModule[] = [];
  async function start(imports: ModuleMetadata['imports'], providers: ModuleMetadata['providers'] = []) {
    const app = await Test.createTestingModule({ imports, providers }).compile();
    await app.init();
    apps.push(app);
    return app;
  }
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()));
  });

  const forDense = () => TfjsModule.forFeature([{ name: 'dense', path: dense.path }]);

  it('injects a loaded model', async () => {
    const app = await start([TfjsModule.forRoot({ backend: 'cpu' }), forDense()], [Scorer]);
    const { model } = app.get(Scorer);
    expect(model).toBeInstanceOf(TfjsModel);
    expect(model).toMatchObject({ inputShape: [3], outputShape: [2], backend: 'cpu' });
    await expect(model.predict([[1, 0, 0]])).resolves.toHaveLength(1);
  });

  it('serves a feature module that stands before the root, and models of several', async () => {
    @Module({ imports: [TfjsModule.forFeature([{ name: 'conv', path: join(conv.path, 'model.json') }])] })
    class ConvModule {}
    const app = await start([ConvModule, forDense(), TfjsModule.forRoot({ backend: 'cpu' })], [Scorer]);
    await app.get(Scorer).model.predict([[1, 0, 0]]);
    await app.get<TfjsModel>(getTfjsModelToken('conv'), { strict: false }).predict([new Uint8Array(72)]);
  });

  it('takes its options from a factory', async () => {
    @Module({ providers: [{ provide: 'BACKEND', useValue: 'cpu' }], exports: ['BACKEND'] })
    class ConfigModule {}
    const root = TfjsModule.forRootAsync({
      imports: [ConfigModule],
      inject: ['BACKEND'],
      useFactory: (backend: 'cpu') => Promise.resolve({ backend }),
    });
    const app = await start([root, forDense()], [Scorer]);
    expect(app.get(Scorer).model.backend).toBe('cpu');
  });

  it('takes the first backend that starts under auto', async () => {
    const app = await start([TfjsModule.forRoot(), forDense()], [Scorer]);
    expect(['tensorflow', 'wasm']).toContain(app.get(Scorer).model.backend);
  });

  it('lets two applications live in one process, each with its own worker', async () => {
    const first = await start([TfjsModule.forRoot({ backend: 'cpu' }), forDense()], [Scorer]);
    const second = await start(
      [TfjsModule.forRoot({ backend: 'wasm' }), TfjsModule.forFeature([{ name: 'dense', path: conv.path }])],
      [Scorer],
    );
    await apps.shift()?.close();
    await expect(first.get(Scorer).model.predict([[1, 0, 0]])).rejects.toMatchObject({
      code: 'ERR_BATCHING_STOPPED',
    });
    const { model } = second.get(Scorer);
    expect(model).toMatchObject({ backend: 'wasm', inputShape: [6, 6, 2] });
    await expect(model.predict([new Uint8Array(72)])).resolves.toHaveLength(1);
  });

  it('shares a model that is registered twice with one path', async () => {
    const messages = jest.spyOn(Worker.prototype, 'postMessage');
    const app = await start([TfjsModule.forRoot({ backend: 'cpu' }), forDense(), forDense()], [Scorer]);
    expect(await app.get(Scorer).model.memory()).toMatchObject({ tensors: 1 });
    const calls = messages.mock.calls.map(([message]) => (message as { name: string }).name);
    expect(calls).toEqual(['start', 'load', 'memory']);
  });

  it('keeps the former names InjectModel and getModelToken', () => {
    /* eslint-disable @typescript-eslint/no-deprecated -- they are what is tested */
    expect(InjectModel).toBe(InjectTfjsModel);
    expect(getModelToken('dense')).toBe(getTfjsModelToken('dense'));
    /* eslint-enable @typescript-eslint/no-deprecated */
  });

  it('lets a test put a fake in the place of a model', async () => {
    const fake = { predict: () => Promise.resolve([Float32Array.of(1)]) };
    const app = await Test.createTestingModule({
      imports: [
        TfjsModule.forRoot({ backend: 'cpu' }),
        TfjsModule.forFeature([{ name: 'dense', path: '/nowhere' }]),
      ],
      providers: [Scorer],
    })
      .overrideProvider(getTfjsModelToken('dense'))
      .useValue(fake)
      .compile();
    apps.push(app);
    expect(app.get(Scorer).model).toBe(fake);
  });

  describe('fails the start-up', () => {
    async function expectFailure(
      imports: ModuleMetadata['imports'],
      type: unknown,
      message: string | RegExp,
    ) {
      const started = start(imports);
      await expect(started).rejects.toThrow(message);
      await expect(started).rejects.toBeInstanceOf(type);
    }
    const cpu = () => TfjsModule.forRoot({ backend: 'cpu' });
    const forPath = (path: string) => TfjsModule.forFeature([{ name: 'broken', path }]);

    it('without forRoot', async () => {
      await expectFailure(
        [forDense()],
        TfjsModuleError,
        "model 'dense' needs TfjsModule.forRoot() among the imports of the root module",
      );
    });

    it('with two forRoot', async () => {
      await expectFailure([cpu(), cpu()], TfjsModuleError, 'TfjsModule.forRoot() is imported twice');
    });

    it('with two paths for one name', async () => {
      const other = TfjsModule.forFeature([{ name: 'dense', path: conv.path }]);
      await expectFailure(
        [cpu(), forDense(), other],
        TfjsModuleError,
        /^model 'dense' is registered twice, with \S+ and \S+: give one of them another name$/,
      );
      expect(() =>
        TfjsModule.forFeature([
          { name: 'dense', path: dense.path },
          { name: 'dense', path: conv.path },
        ]),
      ).toThrow(TfjsModuleError);
    });

    it('with an unknown backend', async () => {
      await expectFailure(
        [TfjsModule.forRoot({ backend: 'gpu' as 'cpu' })],
        RangeError,
        "TfjsModule: backend must be one of auto, tensorflow, webgpu, wasm, cpu; it is 'gpu'",
      );
    });

    it.each(['before', 'after'])('with the reason of a root that fails %s its features', async (order) => {
      const root = TfjsModule.forRootAsync({
        useFactory: () => Promise.reject(new Error('no configuration')),
      });
      const imports = order === 'before' ? [root, forDense()] : [forDense(), root];
      await expectFailure(imports, Error, 'no configuration');
    });

    it('with a model that is missing, truncated or unusable', async () => {
      const truncated = writeDenseModel().path;
      truncateSync(join(truncated, 'weights.bin'), 20);
      await expectFailure([cpu(), forPath('/no/model')], ModelFileError, '/no/model is missing');
      await expectFailure(
        [cpu(), forPath(truncated)],
        ModelFileError,
        'expected 24 bytes of weights, found 20',
      );
      await expectFailure(
        [cpu(), forPath(writeDenseModel({ batch: 1 }).path)],
        UnsupportedModelError,
        'needs an open batch dimension',
      );
      await expectFailure(
        [cpu(), forPath(writeGraphModel({ op: 'NoSuchOp' }).path)],
        UnsupportedModelError,
        'NoSuchOp',
      );
      await expectFailure(
        [cpu(), forPath(writeGraphModel({ reshape: [1, 6] }).path)],
        UnsupportedModelError,
        "2 inputs gave an output 'scores0' of shape [1, 6], not one per input",
      );
      await expectFailure(
        [cpu(), forPath(savedModel)],
        UnsupportedModelError,
        'a SavedModel runs on the backend tensorflow only',
      );
    });

    it.each([
      ['its layers', { batch_input_shape: undefined, batch_shape: [null, 3] }, '2.15.0'],
      ['its version', { batch_input_shape: undefined }, '3.4.1'],
    ])('tfjs#8358: with a model of Keras 3, known by %s, and a hint', async (_, config, version) => {
      const { path } = writeDenseModel();
      const file = join(path, 'model.json');
      const model = JSON.parse(readFileSync(file, 'utf8')) as {
        modelTopology: { config: { layers: { class_name: string; config: object }[] } };
      };
      const [layer] = model.modelTopology.config.layers;
      Object.assign(layer?.config ?? {}, config);
      Object.assign(model.modelTopology, { keras_version: version });
      writeFileSync(file, JSON.stringify(model));
      await expectFailure(
        [cpu(), forPath(path)],
        UnsupportedModelError,
        'the model was saved by Keras 3, whose layers TensorFlow.js does not read: save it with Keras 2',
      );
    });

    it('with an input shape that is missing, or that the model cannot have', async () => {
      const open = writeOpenModel();
      const wrong: [string, InputShape | undefined, string][] = [
        [
          open,
          undefined,
          "input 'conv_input' float32[-1, -1, -1, 1] leaves more open than the batch dimension",
        ],
        [open, [3, 4], "input 'conv_input' float32[-1, -1, -1, 1] cannot have the inputShape [3,4]"],
        [open, [3, 4, 2], 'cannot have the inputShape [3,4,2]'],
        [open, [3, 4.5, 1], 'cannot have the inputShape [3,4.5,1]'],
        [open, { x: [3, 4, 1] }, "inputShape names 'x', which is no input of the model; it has 'conv_input'"],
        [writeFunctionalModel().path, [3], "inputShape must give a shape for each of 'left', 'right'"],
        [
          writeFunctionalModel().path,
          { left: [4] },
          "input 'left' float32[-1, 3] cannot have the inputShape [4]",
        ],
      ];
      for (const [path, inputShape, message] of wrong) {
        const feature = TfjsModule.forFeature([{ name: 'm', path, inputShape }]);
        await expectFailure([cpu(), feature], UnsupportedModelError, message);
      }
    });

    it('with invalid batch sizes', () => {
      for (const batchSizes of [[], [0], [1.5], [8, -1], 8 as unknown as number[]]) {
        expect(() => TfjsModule.forFeature([{ name: 'm', path: dense.path, batchSizes }])).toThrow(
          `batchSizes of model 'm' must be whole numbers from 1, at least one of them; they are ${JSON.stringify(batchSizes)}`,
        );
      }
    });

    it('with options for one name that differ', async () => {
      await expectFailure(
        [cpu(), forDense(), TfjsModule.forFeature([{ name: 'dense', path: dense.path, batchSizes: [4] }])],
        TfjsModuleError,
        "model 'dense' is registered twice, with different options: give one of them another name",
      );
    });

    it('with a module that is missing, broken or of another form', async () => {
      const wrong: [string, new (...args: never[]) => Error, string][] = [
        ['/no/model.mjs', ModelFileError, '/no/model.mjs is missing'],
        [writeModule('export const x = ;'), UnsupportedModelError, 'Unexpected token'],
        [writeModule('export const run = () => {};'), UnsupportedModelError, 'must export `inputs`'],
        [
          writeModule("export const inputs = { x: { shape: [2] } }; export const run = () => 'scores';"),
          UnsupportedModelError,
          '`run` must return a tensor, or tensors by name; it returned a string',
        ],
        [
          writeModule(`export const inputs = { x: { shape: [2] } };
            export const load = () => { throw new Error('no weights') };
            export const run = (tf, x) => x;`),
          UnsupportedModelError,
          'no weights',
        ],
        [
          writeModule(`export const inputs = { x: { shape: [2] } };
            export const load = (tf, loadModel) => loadModel('./none');
            export const run = (tf, x) => x;`),
          ModelFileError,
          'none is missing',
        ],
      ];
      for (const [path, type, message] of wrong) await expectFailure([cpu(), forPath(path)], type, message);
    });
  });

  it('finishes pending predictions at shutdown, after the queues have drained, and then refuses', async () => {
    let model: TfjsModel | undefined;
    const drained: Promise<Float32Array[]>[] = [];
    const registry = {
      stop: async () => {
        await new Promise((resolve) => setTimeout(resolve, 50));
        if (model) drained.push(model.predict([[0, 1, 0]]));
      },
    };
    @Global()
    @Module({ providers: [{ provide: registryToken, useValue: registry }], exports: [registryToken] })
    class FakeBatchingModule {}
    const app = await start(
      [TfjsModule.forRoot({ backend: 'cpu' }), forDense(), FakeBatchingModule],
      [Scorer],
    );
    const dense = (model = app.get(Scorer).model);
    const asked = Array.from({ length: 20 }, () => dense.predict([[1, 0, 0]]));

    await apps.pop()?.close();
    await expect(Promise.all(asked)).resolves.toHaveLength(20);
    expect(drained).toHaveLength(1);
    await expect(drained[0]).resolves.toHaveLength(1);
    await expect(dense.predict([[1, 0, 0]])).rejects.toMatchObject({
      code: 'ERR_BATCHING_STOPPED',
      message: "model 'dense' was stopped and takes no more inputs",
    });
  });
});

describe('TfjsBackendError', () => {
  it('says what to install', async () => {
    const started = Test.createTestingModule({
      imports: [TfjsModule.forRoot({ backend: 'tensorflow' })],
    }).compile();
    const app = await started.catch((error: unknown) => {
      expect(error).toBeInstanceOf(TfjsBackendError);
      expect(error).toHaveProperty('code', 'ERR_BATCHING_BACKEND');
      expect(error).toHaveProperty(
        'message',
        expect.stringContaining('npm install @tensorflow/tfjs-node-gpu'),
      );
    });
    await app?.close();
  });
});
