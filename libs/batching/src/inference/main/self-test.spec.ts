import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getTfjsModelToken,
  ModelFileError,
  ModelNotReadyError,
  type TfjsModel,
  TfjsModule,
  type TfjsModelOptions,
} from 'nest-batching/tfjs';
import { savedModel, writeDenseModel, writeModule, writeSignatureModel } from '../../tfjs/models.fixture.js';

type Options = Partial<TfjsModelOptions>;

describe('the checks before a model is ready', () => {
  const apps: TestingModule[] = [];
  async function start(path: string, options: Options = {}): Promise<TfjsModel> {
    const imports = [
      TfjsModule.forRoot({ backend: 'cpu' }),
      TfjsModule.forFeature([{ name: 'm', path, ...options }]),
    ];
    const app = await Test.createTestingModule({ imports })
      .setLogger({ log: () => undefined, warn: () => undefined, error: () => undefined })
      .compile();
    apps.push(app);
    return app.get<TfjsModel>(getTfjsModelToken('m'), { strict: false });
  }
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()));
  });
  async function expectNotReady(path: string, options: Options, message: string): Promise<void> {
    const started = start(path, options);
    await expect(started).rejects.toBeInstanceOf(ModelNotReadyError);
    await expect(started).rejects.toMatchObject({
      code: 'ERR_BATCHING_MODEL_NOT_READY',
      model: 'm',
      message: expect.stringContaining(`model 'm' is not ready: ${message}`),
    });
  }

  /** The dense model with these weights. */
  function withWeights(weights: number[]): string {
    const { path } = writeDenseModel();
    writeFileSync(join(path, 'weights.bin'), Buffer.from(Float32Array.from(weights).buffer));
    return path;
  }

  describe('finite results of zeros', () => {
    const remedy =
      ': its weights may be damaged. If this is right for the model, set allowNonFinite: true, or give a selfTest, ' +
      'which decides instead';

    it.each([
      ['NaN', withWeights([0, 0, 0, NaN, 0, 0]), "NaN in output 'dense'"],
      // Zero times Infinity.
      ['Infinity', withWeights([0, 0, 0, Infinity, 0, 0]), "NaN in output 'dense'"],
      ['-Infinity', writeLog('tf.log(x)'), "-Infinity in output 'output'"],
      [
        'Infinity in one of several outputs',
        writeLog('({ a: x, b: tf.div(1, x) })'),
        "Infinity in output 'b'",
      ],
    ])('fails the start-up, by name, for %s', async (_, path, problem) => {
      await expectNotReady(path, {}, `an input of zeros gives ${problem}${remedy}`);
    });

    it('are required for every size that is warmed up', async () => {
      const path = writeLog('x.shape[0] === 8 ? tf.log(x) : x');
      await expectNotReady(path, { batchSizes: [1, 8] }, 'an input of zeros gives -Infinity');
      await expect(start(path, { batchSizes: [1, 4] })).resolves.toBeDefined();
    });

    it('are not required with allowNonFinite or a selfTest', async () => {
      const path = writeLog('tf.log(x)');
      const allowed = await start(path, { allowNonFinite: true, batchSizes: [2] });
      expect(await allowed.predict([[0]])).toEqual([Float32Array.of(-Infinity)]);
      await start(path, { selfTest: { input: [1], expected: [0] } });
      await start(path, { selfTest: { input: [0], expected: [-Infinity] } });
      await expectNotReady(path, { selfTest: { input: [1], expected: [0.5] } }, 'its selfTest failed');
      await expectNotReady(path, { allowNonFinite: false }, 'an input of zeros gives -Infinity');
    });

    /** A module of one number. */
    function writeLog(result: string): string {
      return writeModule(`export const inputs = { x: { shape: [1] } };
        export const run = (tf, x) => ${result};`);
    }
  });

  describe('its selfTest', () => {
    const { path, reference } = writeDenseModel();
    const [first = NaN, second = NaN] = reference([1, 2, 3]);

    it('passes with results within the tolerance, 0.001 by default', async () => {
      await start(path, { selfTest: { input: [1, 2, 3], expected: [first + 0.0009, second - 0.0009] } });
      await start(path, {
        selfTest: [
          { input: Uint8Array.of(1, 2, 3), expected: Float32Array.of(first, second) },
          { input: { dense_input: [1, 2, 3] }, expected: { dense: [first + 0.4, second] }, tolerance: 0.5 },
        ],
        batchSizes: [4],
      });
    });

    it('fails the start-up, with an error that names the first difference', async () => {
      await expectNotReady(
        path,
        { selfTest: { input: [1, 2, 3], expected: [first, second + 0.01] } },
        `its selfTest failed on cpu: number 1 of output 'dense' is ${Math.fround(second)}`,
      );
      const good = { input: [1, 2, 3], expected: [first, second] };
      const bad = { input: [0, 0, 0], expected: [0, 7], tolerance: 0.25 };
      await expectNotReady(
        path,
        { selfTest: [good, bad] },
        "its selfTest failed on cpu: number 1 of output 'dense' is 0; expected is 7, within 0.25",
      );
      await expectNotReady(
        withWeights([0, 0, 0, NaN, 0, 0]),
        { selfTest: good },
        "its selfTest failed on cpu: number 0 of output 'dense' is ",
      );
    });

    it('fails with an error for an output that the model does not have', async () => {
      const input = { dense_input: [1, 2, 3] };
      await expectNotReady(
        path,
        { selfTest: { input, expected: { scores: [1] } } },
        "its selfTest failed on cpu: it expects an output 'scores', which the model does not give; it gives 'dense'",
      );
      await expectNotReady(
        path,
        { selfTest: { input, expected: { dense: [1, 2, 3] } } },
        "its selfTest failed on cpu: it expects 3 numbers of output 'dense', which has 2",
      );
      await expectNotReady(
        path,
        { selfTest: { input: [1], expected: [1] } },
        "its selfTest has an input that the model does not accept: input 0 of model 'm' must have 3 numbers (3, row-major); it has 1",
      );
    });

    it('compares bools and integers by name, and only the outputs that are named', async () => {
      const input = { flags: [true, false, true], counts: [1, 2, 40_000] };
      const path = writeSignatureModel();
      await start(path, { selfTest: { input, expected: { not: [false, true, false] } } });
      await start(path, { selfTest: { input, expected: { negative: [-1, -2, -40_000] }, tolerance: 0 } });
      await expectNotReady(
        path,
        { selfTest: { input, expected: { not: [0, 1, 0], negative: [-1, -2, -3] } } },
        "its selfTest failed on cpu: number 2 of output 'negative' is -40000; expected is -3, within 0.001",
      );
    });

    it('runs the test as it was given, even if that is changed afterwards', async () => {
      const expected = [first, second];
      const feature = TfjsModule.forFeature([{ name: 'm', path, selfTest: { input: [1, 2, 3], expected } }]);
      expected.fill(99);
      const imports = [TfjsModule.forRoot({ backend: 'cpu' }), feature];
      const app = await Test.createTestingModule({ imports }).compile();
      apps.push(app);
    });

    it.each<[string, unknown, new (message: string) => Error, string]>([
      ['null', null, TypeError, 'must be { input, expected, tolerance } or an array of these'],
      [
        'a number',
        5,
        TypeError,
        'its input an array of numbers or an object of such arrays by name; it is undefined',
      ],
      ['no tests', [], RangeError, 'must have at least one test; it is []'],
      ['no input', { expected: [1] }, TypeError, 'its input an array of numbers'],
      ['no expected', { input: [1] }, TypeError, 'its expected an array of numbers'],
      [
        'texts',
        { input: ['1'], expected: [1] },
        TypeError,
        "its input an array of numbers or an object of such arrays by name; it is [ '1' ]",
      ],
      ['rows', { input: [1], expected: [[1]] }, TypeError, 'its expected an array of numbers'],
      ['no names', { input: {}, expected: {} }, TypeError, 'its input an array of numbers'],
      [
        'both forms',
        { input: [1], expected: { x: [1] } },
        TypeError,
        'must have input and expected in one form',
      ],
      [
        'a text as tolerance',
        { input: [1], expected: [1], tolerance: '1' },
        TypeError,
        "must have a number as its tolerance; it is '1'",
      ],
      [
        'a tolerance of NaN',
        { input: [1], expected: [1], tolerance: NaN },
        RangeError,
        'must have a tolerance from 0; it is NaN',
      ],
      [
        'a tolerance below 0',
        [{ input: [1], expected: [1], tolerance: -1 }],
        RangeError,
        'must have a tolerance from 0; it is -1',
      ],
    ])('is refused by forFeature with %s', (_, selfTest, type, message) => {
      const feature = () => TfjsModule.forFeature([{ name: 'm', path, selfTest: selfTest as never }]);
      expect(feature).toThrow(type);
      expect(feature).toThrow(`TfjsModule.forFeature: selfTest of model 'm' `);
      expect(feature).toThrow(message);
    });
  });

  describe('its checksums', () => {
    const sha256 = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');
    function checksumsOf(path: string): Record<string, string> {
      const files = ['model.json', 'weights.bin'];
      return Object.fromEntries(files.map((file) => [file, sha256(join(path, file))]));
    }

    it('are those of its files, by their paths relative to its folder', async () => {
      const { path } = writeDenseModel();
      await start(path, { checksums: checksumsOf(path) });
      await start(join(path, 'model.json'), { checksums: checksumsOf(path) });
      const { 'weights.bin': weights = '' } = checksumsOf(path);
      await start(path, { checksums: { 'weights.bin': weights.toUpperCase() } });
      const own = writeModule(`export const inputs = { x: { shape: [3] } };
        export const load = (tf, loadModel) => loadModel(${JSON.stringify(path)});
        export const run = (tf, x, dense) => dense.predictOnBatch(x);`);
      await start(own, { checksums: { 'model.mjs': sha256(own) } });
    });

    it('name the file that differs, at start-up', async () => {
      const { path } = writeDenseModel();
      const checksums = checksumsOf(path);
      writeFileSync(join(path, 'weights.bin'), Buffer.alloc(24));
      const started = start(path, { checksums });
      await expect(started).rejects.toBeInstanceOf(ModelFileError);
      await expect(started).rejects.toThrow(
        "weights.bin of model 'm' was changed or is damaged: expected SHA-256 " +
          `${checksums['weights.bin']}, found ${sha256(join(path, 'weights.bin'))}`,
      );
      await expect(start(path, { checksums: { 'weight.bin': '0'.repeat(64) } })).rejects.toThrow(
        "checksums of model 'm' names 'weight.bin', which is not read for it; it has model.json, weights.bin",
      );
    });

    it('are compared last: missing, cut-off and foreign files have their own errors', async () => {
      const { path } = writeDenseModel();
      const checksums = checksumsOf(path);
      truncateSync(join(path, 'weights.bin'), 20);
      await expect(start(path, { checksums })).rejects.toThrow('expected 24 bytes of weights, found 20');
      truncateSync(join(path, 'model.json'), 20);
      await expect(start(path, { checksums })).rejects.toThrow('is not JSON, or is cut off');
      await expect(start('/no/model', { checksums })).rejects.toThrow('/no/model is missing');
      await expect(start(savedModel, { checksums })).rejects.toThrow('a SavedModel runs on the backend');
    });

    it.each([
      null,
      5,
      'abc',
      { 'weights.bin': 'abc' },
      { 'weights.bin': 5 },
      { 'weights.bin': `${'0'.repeat(64)}\n` },
    ])('are refused by forFeature when they are %j', (checksums) => {
      expect(() => TfjsModule.forFeature([{ name: 'm', path: '/m', checksums: checksums as never }])).toThrow(
        "TfjsModule.forFeature: checksums of model 'm' must be { 'weights.bin': SHA-256 in 64 hexadecimal digits }",
      );
    });
  });

  it('allowNonFinite must be true or false', () => {
    const feature = () => TfjsModule.forFeature([{ name: 'm', path: '/m', allowNonFinite: 'no' as never }]);
    expect(feature).toThrow(TypeError);
    expect(feature).toThrow("allowNonFinite of model 'm' must be true or false; it is 'no'");
  });
});
