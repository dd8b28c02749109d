import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, it, jest } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { BatchQueue } from 'nest-batching';
import {
  getTfjsModelToken,
  InferenceError,
  ModelInputError,
  type TfjsModel,
  TfjsModule,
} from 'nest-batching/tfjs';
import { expectBatchInvariant } from 'nest-batching/testing';
import { describeOn } from './backends.fixture.js';
import {
  randomFloats,
  savedModel,
  writeConvModel,
  writeDenseModel,
  writeFunctionalModel,
  writeGraphModel,
  writeIntegerModel,
  writeModule,
  writeOpenModel,
  writeQuantizedModel,
  writeSignatureModel,
} from './models.fixture.js';

/** Largest difference to the plain reference, on every backend, and to a prediction of one. */
const tolerance = 2e-5;

for (const backend of ['tensorflow', 'webgpu', 'wasm', 'cpu'] as const) {
  await describeOn(backend, 'TfjsModel', () => {
    const fixtures = {
      conv: writeConvModel(),
      dense: writeDenseModel(),
      graph: writeGraphModel(),
      branch: writeGraphModel({ branch: true }),
      integers: writeIntegerModel(),
      uint8: writeQuantizedModel('uint8'),
      uint16: writeQuantizedModel('uint16'),
      float16: writeQuantizedModel('float16'),
    };
    const functional = writeFunctionalModel();
    /** Fails in an op of TensorFlow.js when the first number is 666. */
    const failingModule = writeModule(`
      export const inputs = { x: { shape: [4] } };
      export const run = async (tf, x) => {
        const [first] = await x.data();
        return first === 666 ? tf.reshape(x, [7]) : tf.neg(x);
      };
    `);
    /** Makes floats from 0 to 1 of bytes, on the device, for the dense model. */
    const pixelsModule = writeModule(`
      export const inputs = { pixels: { shape: [3], dtype: 'int32' } };
      export const load = (tf, loadModel) => loadModel(${JSON.stringify(fixtures.dense.path)});
      export const run = (tf, pixels, dense) => dense.predictOnBatch(tf.div(tf.cast(pixels, 'float32'), 255));
    `);
    /** CommonJS, without a state, with two results. */
    const pairModule = writeModule(
      `
      exports.inputs = { x: { shape: [2] } };
      exports.run = async (tf, x) => ({ half: tf.div(x, 2), twice: tf.cast(tf.mul(x, 2), 'int32') });
      `,
      'cjs',
    );
    /** Gives what the device got. */
    const exactModule = writeModule(`
      export const inputs = { flags: { shape: [3], dtype: 'bool' }, counts: { shape: [3], dtype: 'int32' } };
      export const run = (tf, { flags, counts }) => ({ flags: tf.clone(flags), counts: tf.clone(counts) });
    `);
    let app: TestingModule;
    const model = (name: string) => app.get<TfjsModel>(getTfjsModelToken(name), { strict: false });

    beforeAll(async () => {
      app = await Test.createTestingModule({
        imports: [
          TfjsModule.forRoot({ backend }),
          TfjsModule.forFeature([
            { name: 'failing', path: failingModule },
            { name: 'functional', path: functional.path },
            { name: 'signature', path: writeSignatureModel() },
            { name: 'open', path: writeOpenModel(), inputShape: [3, 4, 1] },
            { name: 'padded', path: fixtures.conv.path, batchSizes: [8, 3, 1] },
            { name: 'module', path: pixelsModule },
            { name: 'pair', path: pairModule },
            { name: 'exact', path: exactModule },
          ]),
          TfjsModule.forFeature(Object.entries(fixtures).map(([name, { path }]) => ({ name, path }))),
        ],
      }).compile();
    });
    afterAll(() => app.close());

    it('has its shapes, backend and device', () => {
      expect(model('conv')).toMatchObject({ name: 'conv', inputShape: [6, 6, 2], outputShape: [5], backend });
      expect(model('graph')).toMatchObject({ inputShape: [4], outputShape: [3] });
      expect(model('conv').device).toMatch(/^(CPU|GPU) \(.+\)$/);
    });

    it.each(Object.entries(fixtures))(
      'gives every input of %s the same in a batch of any size from 1 to 70 as alone, and as the plain reference',
      async (name, { reference }) => {
        // Its weights are around 1, those of the others around 0: the sums of products are twenty times as large.
        const bound = name === 'float16' ? 20 * tolerance : tolerance;
        const length = model(name).inputShape.reduce((a, b) => a * b);
        const inputs = Array.from({ length: 70 }, (_, i) => randomFloats(length, 100 + i));
        const expected = inputs.map(reference);
        const alone: Float32Array[] = [];
        for (const input of inputs) alone.push(...(await model(name).predict([input])));
        expect(Math.max(...alone.map((result, i) => distance(result, at(expected, i))))).toBeLessThan(bound);
        for (let size = 1; size <= inputs.length; size++) {
          const results = await model(name).predict(inputs.slice(0, size));
          expect(results).toHaveLength(size);
          expect(Math.max(...results.map((result, i) => distance(result, at(alone, i))))).toBeLessThan(bound);
        }
      },
    );

    it.each(Object.keys(fixtures))(
      'gives every input of %s the same whatever else is in its batch, and in whatever order',
      async (name) => {
        const length = model(name).inputShape.reduce((a, b) => a * b);
        const inputs = Array.from({ length: 10 }, (_, i) => randomFloats(length, 200 + i));
        const predict = (batch: Float32Array[]) => model(name).predict(batch);
        await expectBatchInvariant(predict, inputs, { tolerance: 20 * tolerance, trials: 20 });
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

    it('returns the same for bytes, whatever the sizes of earlier batches', async () => {
      for (const size of [5, 2, 9, 1, 70, 9]) {
        const inputs = Array.from({ length: size }, (_, i) => Uint8Array.of(i, 255 - i, size));
        const [scores, negatives] = await Promise.all([
          model('dense').predict(inputs),
          model('integers').predict(inputs),
        ]);
        expect(negatives).toEqual(
          inputs.map((input) => Float32Array.from(fixtures.integers.reference(input))),
        );
        for (const [i, input] of inputs.entries()) {
          const expected = fixtures.dense.reference(input);
          expect(distance(at(scores, i), expected) / 255).toBeLessThan(tolerance);
        }
      }
    });

    it('keeps fractions in a batch that also has bytes', async () => {
      const [result = []] = await model('dense').predict([[0.5, -0.5, 300], Uint8Array.of(1, 2, 3)]);
      expect(distance(result, fixtures.dense.reference([0.5, -0.5, 300])) / 300).toBeLessThan(tolerance);
    });

    it('takes integers for a model of integers, and returns its results as floats', async () => {
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

    it('returns each result in memory of its own', async () => {
      const results = await model('dense').predict([
        [1, 2, 3],
        [4, 5, 6],
      ]);
      expect(results.map(({ buffer }) => buffer.byteLength)).toEqual([8, 8]);
    });

    it('returns no results for no inputs', async () => {
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
      });
      await expect(model('dense').predict([[1, 2, 3], undefined as unknown as number[]])).rejects.toThrow(
        "input 1 of model 'dense' must have 3 numbers (3, row-major); it has none, as it is no array",
      );
    });

    it.each([
      ['NaN', [1, NaN, 3], 'number 1 is NaN'],
      ['NaN in floats', Float32Array.of(1, 2, NaN), 'number 2 is NaN'],
      ['a text', ['1', 2, 3], 'number 0 is 1'],
      ['holes', Array(3), 'number 0 is undefined'],
      ['a bool', [1, 2, true], 'number 2 is true'],
      ['rows', [[1], [2], [3]], 'number 0 is an array'],
      ['BigInts', BigInt64Array.of(1n, 2n, 3n), 'it has none, as it is no array of numbers but of BigInts'],
      ['a BigInt', [1, 2n, 3], 'number 1 is 2n'],
      ['what cannot be printed', [1, 2, Object.create(null)], 'number 2 is an object'],
      ['an object for one tensor', { dense_input: [1, 2] }, 'it has 2'],
    ])('refuses an input with %s, and says what it takes', async (_, input, problem) => {
      const wrong = model('dense').predict([[1, 2, 3], input as number[]]);
      await expect(wrong).rejects.toBeInstanceOf(ModelInputError);
      await expect(wrong).rejects.toThrow(
        `input 1 of model 'dense' must have 3 numbers (3, row-major); ${problem}`,
      );
      expect(() => {
        model('dense').check(input as number[]);
      }).toThrow(`input 0 of model 'dense' must have 3 numbers (3, row-major); ${problem}`);
    });

    it('tfjs#5641: refuses what an integer of 32 bits cannot hold, in check() and in predict() alike', async () => {
      const largest = 2 ** 31 - 1;
      const taken: [number, number][] = [
        [largest, largest],
        [largest + 0.9, largest],
        [-(2 ** 31), -(2 ** 31)],
        [-(2 ** 31) - 0.9, -(2 ** 31)],
        [16_777_217, 16_777_217],
        [-1.9, -1],
      ];
      for (const [value, expected] of taken) {
        for (const counts of [[value, 0, 0], Float64Array.of(value, 0, 0)]) {
          const [result] = await model('exact').predict([{ flags: [1, 1, 1], counts }]);
          expect(result?.counts).toEqual(Int32Array.of(expected, 0, 0));
        }
      }
      const refused = [2 ** 31, -(2 ** 31) - 513, 4e9, 1e300, Infinity, -Infinity, NaN];
      const inputs = refused.flatMap((value) => [
        [0, value, 0],
        Float32Array.of(0, value, 0),
        Float64Array.of(0, value, 0),
      ]);
      for (const counts of [...inputs, [0, -(2 ** 31) - 1, 0], Uint32Array.of(0, 2 ** 31, 0)]) {
        const problem =
          /^input 0 of model 'exact' has a tensor 'counts' that must have 3 numbers .*; number 1 is /;
        const input = { flags: [1, 1, 1], counts };
        await expect(model('exact').predict([input])).rejects.toMatchObject({
          code: 'ERR_BATCHING_INPUT',
          message: expect.stringMatching(problem),
        });
        expect(() => {
          model('exact').check(input);
        }).toThrow(problem);
      }
      await expect(model('integers').predict([[1, 2 ** 31, 3]])).rejects.toThrow(
        'number 1 is 2147483648, and an int32 holds -2147483648 to 2147483647',
      );
      const fromUnsigned = { flags: [1, 1, 1], counts: Uint32Array.of(largest, 1, 0) };
      expect(await model('exact').predict([fromUnsigned])).toMatchObject([
        { counts: Int32Array.of(largest, 1, 0) },
      ]);
    });

    it('tfjs#5641: treats every finite number but 0 as true', async () => {
      const counts = [0, 0, 0];
      const taken = [
        [256, 0.5, -1],
        [65_536, 1e-300, 2 ** 53],
        Float64Array.of(0.25, 512, -0.5),
        Int32Array.of(256, -256, 1),
        Uint8Array.of(2, 128, 255),
        Buffer.of(2, 128, 255),
        [true, 7, true],
      ];
      const inputs = [...taken, [0, -0, false], Uint16Array.of(256, 0, 0)].map((flags) => ({
        flags: flags as number[],
        counts,
      }));
      const results = await model('exact').predict(inputs);
      expect(results.map((result) => [...(result.flags ?? [])])).toEqual([
        ...taken.map(() => [1, 1, 1]),
        [0, 0, 0],
        [1, 0, 0],
      ]);
      for (const value of [NaN, Infinity, -Infinity]) {
        for (const flags of [[0, value, 1], Float32Array.of(0, value, 1)]) {
          const input = { flags, counts };
          const problem = `has a tensor 'flags' that must have 3 numbers (3, row-major); number 1 is ${value}`;
          await expect(model('exact').predict([input])).rejects.toThrow(problem);
          expect(() => {
            model('exact').check(input);
          }).toThrow(problem);
        }
      }
    });

    it('refuses, in a batch of both forms, the first input of another form than input 0', async () => {
      const [flat, named] = [[1, 2, 3], { dense_input: [1, 2, 3] }];
      const wrong = (inputs: unknown[]) => model('dense').predict(inputs as number[][]);
      await expect(wrong([flat, flat, named])).rejects.toMatchObject({
        code: 'ERR_BATCHING_INPUT',
        index: 2,
        message:
          "input 2 of model 'dense' is given by name, and input 0 an array: a batch is of one form, as are its results",
      });
      await expect(wrong([named, flat])).rejects.toMatchObject({ code: 'ERR_BATCHING_INPUT', index: 1 });
      // Of a model that gives several tensors, the flat one is refused wherever it stands, and by `check` too.
      const byName = { x: [1, 2] };
      await expect(model('pair').predict([byName, [1, 2]] as number[][])).rejects.toMatchObject({
        index: 1,
        message: expect.stringContaining(
          'must be an object { "x": […] }, as the model gives several tensors',
        ),
      });
      expect(() => {
        model('pair').check([1, 2]);
      }).toThrow(ModelInputError);
      model('pair').check(byName);
    });

    it('answers all inputs but the one of another form, in a queue that isolates errors', async () => {
      const queue = new BatchQueue((inputs: readonly number[][]) => model('dense').predict(inputs), {
        batchSize: 4,
        maxDelay: 0,
        isolateErrors: true,
      });
      const odd = { dense_input: 5 } as unknown as number[];
      const results = await Promise.allSettled(
        [[1, 2, 3], odd, [4, 5, 6]].map((input) => queue.submit(input)),
      );
      expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      expect(results[1]).toHaveProperty('reason.code', 'ERR_BATCHING_INPUT');
      await queue.stop();
    });

    it.each([
      ['nothing', undefined, 'undefined'],
      ['null', null, 'null'],
      ['a number', 5, '5'],
      ['one input instead of a batch', Float32Array.of(1, 2, 3), 'a Float32Array'],
      ['an object', { dense_input: [1, 2, 3] }, 'an object'],
    ])('rejects, typed, when the inputs are %s', async (_, inputs, what) => {
      const wrong = model('dense').predict(inputs as unknown as number[][]);
      await expect(wrong).rejects.toBeInstanceOf(ModelInputError);
      await expect(wrong).rejects.toMatchObject({
        index: undefined,
        message: `the inputs of model 'dense' must be an array with one entry per input: [input]; they are ${what}`,
      });
    });

    it.each([undefined, null, 5, 'abc', new Map(), new Date(), Symbol('x'), () => 1])(
      'rejects, typed, when one of the inputs is %p',
      async (input) => {
        for (const name of ['dense', 'functional', 'pair']) {
          const wrong = model(name).predict([input as unknown as number[]]);
          await expect(wrong).rejects.toBeInstanceOf(ModelInputError);
        }
      },
    );

    it('takes several tensors by name, and returns several by name', async () => {
      const inputs = Array.from({ length: 9 }, (_, i) => ({
        left: randomFloats(3, i),
        right: i % 2 ? [i, 0.5] : Float32Array.of(0.25, i),
      }));
      expect(model('functional')).toMatchObject({
        inputs: [
          { name: 'left', shape: [3], dtype: 'float32' },
          { name: 'right', shape: [2], dtype: 'float32' },
        ],
        outputs: [
          { name: 'joined', shape: [5], dtype: 'float32' },
          { name: 'scores', shape: [2], dtype: 'float32' },
        ],
      });
      const results = await model('functional').predict(inputs);
      for (const [i, input] of inputs.entries()) {
        const { joined, scores } = functional.reference(input);
        expect(distance(results[i]?.joined ?? [], joined)).toBeLessThan(tolerance);
        expect(distance(results[i]?.scores ?? [], scores)).toBeLessThan(tolerance);
      }
    });

    it('returns results by name in the types of the model', async () => {
      const results = await model('signature').predict([
        { flags: [true, false, true], counts: [1, -2, 40_000] },
        { counts: Uint8Array.of(5, 6, 7), flags: Uint8Array.of(0, 0, 1) },
      ]);
      expect(results).toEqual([
        { not: Uint8Array.of(0, 1, 0), negative: Int32Array.of(-1, 2, -40_000) },
        { not: Uint8Array.of(1, 1, 0), negative: Int32Array.of(-5, -6, -7) },
      ]);
    });

    it('returns the same for every input of several tensors in a batch of any size from 1 to 70', async () => {
      const floats = Array.from({ length: 70 }, (_, i) => ({
        left: randomFloats(3, i),
        right: randomFloats(2, 100 + i),
      }));
      const others = floats.map((_, i) => ({
        flags: [i % 2 === 0, i % 3 === 0, true],
        counts: [i, -i, 40_000 + i],
      }));
      for (let size = 1; size <= floats.length; size++) {
        const [scored, negated] = await Promise.all([
          model('functional').predict(floats.slice(0, size)),
          model('signature').predict(others.slice(0, size)),
        ]);
        expect(scored).toHaveLength(size);
        for (const [i, { joined = [], scores = [] }] of scored.entries()) {
          const expected = functional.reference(at(floats, i));
          expect(distance(joined, expected.joined)).toBeLessThan(tolerance);
          expect(distance(scores, expected.scores)).toBeLessThan(tolerance);
        }
        expect(negated).toEqual(
          others.slice(0, size).map(({ flags, counts }) => ({
            not: Uint8Array.from(flags, (flag) => (flag ? 0 : 1)),
            negative: Int32Array.from(counts, (count) => -count),
          })),
        );
      }
    });

    it('keeps simultaneous batches of several models apart', async () => {
      const names = ['conv', 'dense', 'graph', 'branch', 'integers', 'uint8'] as const;
      await Promise.all(
        Array.from({ length: 60 }, async (_, k) => {
          const name = at(names, k % names.length);
          const length = model(name).inputShape.reduce((a, b) => a * b);
          const inputs = Array.from({ length: 1 + ((k * 13) % 40) }, (_, i) =>
            randomFloats(length, 1000 * k + i),
          );
          const results = await model(name).predict(inputs);
          expect(results).toHaveLength(inputs.length);
          for (const [i, input] of inputs.entries()) {
            expect(distance(at(results, i), fixtures[name].reference(input))).toBeLessThan(tolerance);
          }
        }),
      );
    });

    it('lists its tensors in the error for a wrong name', async () => {
      const wrong = async (input: unknown) => {
        const error: unknown = await model('functional')
          .predict([input as number[]])
          .catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(ModelInputError);
        return (error as Error).message;
      };
      expect(await wrong([1, 2, 3])).toBe(
        `input 0 of model 'functional' must be an object { "left": […], "right": […] }, as the model takes several tensors`,
      );
      expect(await wrong({ left: [1, 2, 3] })).toBe(
        `input 0 of model 'functional' has a tensor 'right' that must have 2 numbers (2, row-major); it has none, as it is no array`,
      );
      expect(await wrong({ left: [1, 2, 3], right: [1, 2], more: [1] })).toBe(
        `input 0 of model 'functional' has a tensor 'more', which the model does not take; it takes 'left', 'right'`,
      );
      expect(await wrong(null)).toContain('must be an object');
      await expect(model('pair').predict([[1, 2]])).rejects.toThrow(
        `input 0 of model 'pair' must be an object { "x": […] }, as the model gives several tensors, by name: 'half', 'twice'`,
      );
    });

    it('fixes the shape that a model leaves open', async () => {
      const [result = []] = await model('open').predict([new Float32Array(12).fill(9)]);
      expect(model('open').outputShape).toEqual([3, 4, 1]);
      // Four of nine neighbours in a corner, six at an edge.
      expect(distance(result, [4, 6, 6, 4, 6, 9, 9, 6, 4, 6, 6, 4])).toBeLessThan(tolerance);
    });

    it('pads batches to the configured sizes, and splits larger ones', async () => {
      const inputs = Array.from({ length: 21 }, (_, i) => randomFloats(72, i));
      const sizesRun = watchSizes();
      const results = await model('padded').predict(inputs);
      expect(sizesRun()).toEqual([8, 8, 8]);
      for (const [i, input] of inputs.entries()) {
        expect(distance(at(results, i), fixtures.conv.reference(input))).toBeLessThan(tolerance);
      }
      await model('padded').predict(inputs.slice(0, 2));
      await model('padded').predict(inputs.slice(0, 1));
      expect(sizesRun()).toEqual([8, 8, 8, 3, 1]);
    });

    it("runs a module's own code on the device, with a model of its own", async () => {
      expect(model('module')).toMatchObject({ inputs: [{ name: 'pixels', shape: [3], dtype: 'int32' }] });
      const [result = [], again = []] = await model('module').predict([
        Uint8Array.of(51, 102, 255),
        [0, 0, 51],
      ]);
      expect(distance(result, fixtures.dense.reference([0.2, 0.4, 1]))).toBeLessThan(tolerance);
      expect(distance(again, fixtures.dense.reference([0, 0, 0.2]))).toBeLessThan(tolerance);
      expect(await model('pair').predict([{ x: [2, 4] }])).toEqual([
        { half: Float32Array.of(1, 2), twice: Int32Array.of(4, 8) },
      ]);
    });

    it('measures the time of each step', async () => {
      const before = model('dense').timings;
      await model('dense').predict([
        [1, 2, 3],
        [4, 5, 6],
      ]);
      const { timings } = model('dense');
      expect(timings.batches - before.batches).toBe(1);
      expect(timings.inputs - before.inputs).toBe(2);
      for (const step of ['fill', 'wait', 'upload', 'run', 'read', 'answer', 'split'] as const) {
        expect(timings[step]).toBeGreaterThanOrEqual(before[step]);
      }
      expect(timings.upload + timings.run + timings.read).toBeGreaterThan(0);
    });

    (backend === 'tensorflow' ? it : it.skip)('runs a SavedModel', async () => {
      const other = await Test.createTestingModule({
        imports: [
          TfjsModule.forRoot({ backend }),
          TfjsModule.forFeature([{ name: 'saved', path: savedModel }]),
        ],
      }).compile();
      const saved = other.get<TfjsModel>(getTfjsModelToken('saved'), { strict: false });
      const results = await saved.predict([
        { x: [1, 0, 0], k: [1, 2] },
        { x: [0, 2, 4], k: [0, -1] },
      ]);
      expect(results).toEqual([
        { scores: Float32Array.of(2, 0), twice: Int32Array.of(2, 4) },
        { scores: Float32Array.of(-3, 8), twice: Int32Array.of(0, -2) },
      ]);
      await other.close();
    });

    it('rejects with the error of the model, and goes on', async () => {
      const error: unknown = await model('failing')
        .predict([[666, 2, 3, 4]])
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
      const input = randomFloats(72, 1);
      const before = await model('conv').memory();
      expect(before.tensors).toBeGreaterThan(0);
      await Promise.all(
        sizes.flatMap((size) => [
          model('conv').predict(Array.from({ length: size }, () => input)),
          model('branch').predict(Array.from({ length: size }, () => [1, 2, 3, 4])),
          model('failing')
            .predict(Array.from({ length: size }, () => [666, 2, 3, 4]))
            .then(
              () => {
                throw new Error('it did not fail');
              },
              () => undefined,
            ),
        ]),
      );
      const { tensors, bytes } = await model('conv').memory();
      expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
    });

    it('answers predictions of several models in order', async () => {
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

/** Sizes of the batches that went to the worker since, in their order. */
function watchSizes(): () => number[] {
  const messages = jest.spyOn(Worker.prototype, 'postMessage');
  const before = messages.mock.calls.length;
  return () =>
    messages.mock.calls.slice(before).flatMap(([message]) => {
      const { name, args } = message as { name: string; args: [string, { size: number }] };
      return name === 'predict' ? [args[1].size] : [];
    });
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
