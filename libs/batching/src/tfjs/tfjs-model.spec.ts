import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getModelToken,
  InferenceError,
  ModelInputError,
  type TfjsBackend,
  TfjsBackendError,
  type TfjsModel,
  TfjsModule,
} from 'nest-batching/tfjs';
import {
  randomNumbers,
  writeConvModel,
  writeDenseModel,
  writeGraphModel,
  writeIntegerModel,
} from './models.fixture.js';

/** Largest difference to the plain reference and to a prediction of one. */
const tolerance = 1e-5;

for (const backend of ['tensorflow', 'wasm', 'cpu'] as const) {
  const missing = await whyNot(backend);
  if (missing) process.stderr.write(`SKIPPED: all specs of the backend ${backend}. ${missing}\n`);

  (missing ? describe.skip : describe)(`TfjsModel on ${backend}`, () => {
    const fixtures = {
      conv: writeConvModel(),
      dense: writeDenseModel(),
      graph: writeGraphModel(),
      branch: writeGraphModel({ branch: true }),
      integers: writeIntegerModel(),
    };
    /** Fails for every batch but one of two inputs: the reason why models of one batch size are no use. */
    const failing = writeGraphModel({ reshape: [2, 3] });
    let app: TestingModule;
    const model = (name: string) => app.get<TfjsModel>(getModelToken(name), { strict: false });

    beforeAll(async () => {
      app = await Test.createTestingModule({
        imports: [
          TfjsModule.forRoot({ backend }),
          TfjsModule.forFeature([{ name: 'failing', path: failing.path }]),
          TfjsModule.forFeature(Object.entries(fixtures).map(([name, { path }]) => ({ name, path }))),
        ],
      }).compile();
    });
    afterAll(() => app.close());

    it('tells its shapes, backend and device', () => {
      expect(model('conv')).toMatchObject({ name: 'conv', inputShape: [6, 6, 2], outputShape: [5], backend });
      expect(model('graph')).toMatchObject({ inputShape: [4], outputShape: [3] });
      expect(model('conv').device).toMatch(/^(CPU|GPU) \(.+\)$/);
    });

    it.each(Object.entries(fixtures))(
      'gives every input of %s the same in a batch of any size from 1 to 70 as alone, and as the plain reference',
      async (name, { reference }) => {
        const length = model(name).inputShape.reduce((a, b) => a * b);
        const inputs = Array.from({ length: 70 }, (_, i) => randomNumbers(length, 100 + i));
        const expected = inputs.map(reference);
        const alone: Float32Array[] = [];
        for (const input of inputs) alone.push(...(await model(name).predict([input])));
        expect(alone.map((result, i) => distance(result, at(expected, i))).every((d) => d < tolerance)).toBe(
          true,
        );
        for (let size = 1; size <= inputs.length; size++) {
          const results = await model(name).predict(inputs.slice(0, size));
          expect(results).toHaveLength(size);
          expect(Math.max(...results.map((result, i) => distance(result, at(alone, i))))).toBeLessThan(
            tolerance,
          );
        }
      },
    );

    it('takes every kind of array, alone and mixed', async () => {
      const bytes = [3, 200, 255];
      const kinds = [
        bytes,
        Uint8Array.from(bytes),
        Uint8ClampedArray.from(bytes),
        Buffer.from(bytes),
        Int16Array.from(bytes),
        Int32Array.from(bytes),
        Float32Array.from(bytes),
        Float64Array.from(bytes),
      ];
      const expected = fixtures.dense.reference(bytes);
      const mixed = await model('dense').predict(kinds);
      const [allBytes] = await model('dense').predict([Uint8Array.from(bytes), Buffer.from(bytes)]);
      for (const result of [...mixed, allBytes]) {
        expect(distance(result ?? [], expected) / 255).toBeLessThan(tolerance);
      }
    });

    it('does not cut the fractions off that stand beside bytes', async () => {
      const [result = []] = await model('dense').predict([[0.5, -0.5, 300], Uint8Array.of(1, 2, 3)]);
      expect(distance(result, fixtures.dense.reference([0.5, -0.5, 300])) / 300).toBeLessThan(tolerance);
    });

    it('takes integers for a model of integers, and gives its results as floats all the same', async () => {
      const inputs = [Int32Array.of(40000, -7, 0), [1.9, -1.9, 3], Uint8Array.of(255, 1, 2)];
      const results = await model('integers').predict(inputs);
      expect(results).toEqual(inputs.map((input) => Float32Array.from(fixtures.integers.reference(input))));
      expect(await model('integers').predict([Uint8Array.of(255, 1, 2)])).toEqual(results.slice(2));
    });

    it('has read the inputs when it returns', async () => {
      const input = Float32Array.of(1, 2, 3);
      const predicted = model('dense').predict([input]);
      input.fill(0);
      expect(distance(at(await predicted, 0), fixtures.dense.reference([1, 2, 3]))).toBeLessThan(tolerance);
    });

    it('gives each result a memory of its own', async () => {
      const results = await model('dense').predict([
        [1, 2, 3],
        [4, 5, 6],
      ]);
      expect(results.map(({ buffer }) => buffer.byteLength)).toEqual([8, 8]);
    });

    it('gives no results for no inputs', async () => {
      await expect(model('dense').predict([])).resolves.toEqual([]);
    });

    it('names the input of the wrong length', async () => {
      const wrong = model('conv').predict([new Uint8Array(72), new Uint8Array(71)]);
      await expect(wrong).rejects.toBeInstanceOf(ModelInputError);
      await expect(wrong).rejects.toMatchObject({
        code: 'ERR_BATCHING_INPUT',
        message: "input 1 of model 'conv' must have 72 numbers (6 × 6 × 2, row-major); it has 71",
        model: 'conv',
        index: 1,
        shape: [6, 6, 2],
        expected: 72,
        received: 71,
      });
      await expect(model('dense').predict([[1, 2, 3], undefined as unknown as number[]])).rejects.toThrow(
        "input 1 of model 'dense' must have 3 numbers (3, row-major); it has none, as it is no array",
      );
    });

    it('keeps NaN to the result it belongs to', async () => {
      const results = await model('dense').predict([
        [1, 2, 3],
        [1, NaN, 3],
        [1, 2, 3],
      ]);
      const expected = fixtures.dense.reference([1, 2, 3]);
      expect(distance(at(results, 0), expected)).toBeLessThan(tolerance);
      expect([...at(results, 1)]).toEqual([NaN, NaN]);
      expect(distance(at(results, 2), expected)).toBeLessThan(tolerance);
    });

    it('hands on what the model threw, and goes on', async () => {
      const error: unknown = await model('failing')
        .predict([[1, 2, 3, 4]])
        .catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(InferenceError);
      expect(error).toHaveProperty('code', 'ERR_BATCHING_INFERENCE');
      expect(error).toHaveProperty(
        'message',
        expect.stringContaining(`model 'failing' failed on ${backend}: `),
      );
      expect(error).toHaveProperty('cause.name', 'Error');
      expect(error).toHaveProperty('cause.stack', expect.stringContaining('tfjs-core'));
      await expect(
        model('failing').predict([
          [1, 2, 3, 4],
          [5, 6, 7, 8],
        ]),
      ).resolves.toHaveLength(2);
    });

    it('keeps no tensor of a prediction, whatever the size, also when it fails', async () => {
      const sizes = Array.from({ length: 300 }, (_, i) => 1 + ((i * 7) % 50));
      const input = randomNumbers(72, 1);
      const before = await model('conv').memory();
      expect(before.tensors).toBeGreaterThan(0);
      await Promise.all(
        sizes.flatMap((size) => [
          model('conv').predict(Array.from({ length: size }, () => input)),
          model('branch').predict(Array.from({ length: size }, () => [1, 2, 3, 4])),
          model('failing')
            .predict(Array.from({ length: size + 2 }, () => [1, 2, 3, 4]))
            .then(
              () => {
                throw new Error('it did not fail');
              },
              () => undefined,
            ),
        ]),
      );
      expect(await model('conv').memory()).toEqual(before);
    });

    it('answers predictions of several models in the order they were asked', async () => {
      const order: number[] = [];
      await Promise.all(
        [0, 1, 2, 3, 4, 5].map(async (i) => {
          await (i % 2
            ? model('dense').predict([[1, 2, 3]])
            : model('conv').predict(Array.from({ length: 50 }, () => new Uint8Array(72))));
          order.push(i);
        }),
      );
      expect(order).toEqual([0, 1, 2, 3, 4, 5]);
    });
  });
}

/** Why the backend cannot be tested on this machine; `undefined` when it can. wasm and cpu always must. */
async function whyNot(backend: TfjsBackend): Promise<string | undefined> {
  if (backend !== 'tensorflow') return undefined;
  try {
    const app = await Test.createTestingModule({ imports: [TfjsModule.forRoot({ backend })] }).compile();
    await app.close();
    return undefined;
  } catch (error) {
    if (error instanceof TfjsBackendError) return error.message;
    throw error;
  }
}

function distance(result: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(result).toHaveLength(expected.length);
  return Math.max(...Array.from(expected, (value, i) => Math.abs(value - (result[i] ?? NaN))));
}

function at<Value>(values: ArrayLike<Value>, index: number): Value {
  const value = values[index];
  if (value === undefined) throw new RangeError(`no value at ${index}`);
  return value;
}
