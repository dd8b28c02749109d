import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getOnnxModelToken,
  InferenceError,
  ModelInputError,
  type OnnxModel,
  OnnxModule,
} from 'nest-batching/onnx';
import { expectBatchInvariant } from 'nest-batching/testing';
import {
  AttributeType,
  DataType,
  describeOn,
  floats,
  type Graph,
  identity,
  integers,
  linear,
  writeModel,
} from './models.fixture.js';

/** Largest difference to the plain reference, on every execution provider. */
const tolerance = 2e-5;

/** A convolution, pooling, a dense layer and a softmax: 6×6 pixels to four scores. */
const conv: Graph = {
  inputs: { picture: { shape: ['batch', 1, 6, 6] } },
  outputs: { scores: { shape: ['batch', 4] } },
  nodes: [
    { opType: 'Conv', input: ['picture', 'kernel'], output: ['a'] },
    { opType: 'Relu', input: ['a'], output: ['b'] },
    {
      opType: 'MaxPool',
      input: ['b'],
      output: ['c'],
      attribute: [
        { name: 'kernel_shape', type: AttributeType.INTS, ints: [2, 2] },
        { name: 'strides', type: AttributeType.INTS, ints: [2, 2] },
      ],
    },
    { opType: 'Reshape', input: ['c', 'flat'], output: ['d'] },
    { opType: 'MatMul', input: ['d', 'dense'], output: ['e'] },
    { opType: 'Softmax', input: ['e'], output: ['scores'] },
  ],
  constants: [
    floats('kernel', [2, 1, 3, 3], numbers(18, 1)),
    floats('dense', [8, 4], numbers(32, 2)),
    integers('flat', [0, -1]),
  ],
};

/** Two inputs and two outputs of different types. */
const pair: Graph = {
  inputs: {
    left: { shape: ['n', 3] },
    right: { type: DataType.INT64, shape: ['n', 2] },
  },
  outputs: {
    twice: { shape: ['n', 3] },
    negative: { type: DataType.BOOL, shape: ['n', 2] },
  },
  nodes: [
    { opType: 'Add', input: ['left', 'left'], output: ['twice'] },
    { opType: 'Less', input: ['right', 'zero'], output: ['negative'] },
  ],
  constants: [integers('zero', [0])],
};

/** Also in the form that `predict` returns. */
const pairTest = {
  input: { left: [1, 2, 3], right: [-4, 5] },
  expected: { twice: Float32Array.of(2, 4, 6), negative: Uint8Array.of(1, 0) },
};

/** The same numbers at each call, from -1 to 1. */
function numbers(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed));
}

/** `conv` in plain arithmetic. */
function reference(picture: Float32Array): number[] {
  const [kernel, dense] = [numbers(18, 1), numbers(32, 2)];
  const flat: number[] = [];
  for (let k = 0; k < 2; k++) {
    const at = (y: number, x: number) => {
      let sum = 0;
      for (let i = 0; i < 9; i++) {
        const pixel = picture[(y + Math.floor(i / 3)) * 6 + x + (i % 3)];
        sum += Number(pixel) * Number(kernel[9 * k + i]);
      }
      return Math.max(sum, 0);
    };
    for (const y of [0, 2]) {
      for (const x of [0, 2]) flat.push(Math.max(at(y, x), at(y, x + 1), at(y + 1, x), at(y + 1, x + 1)));
    }
  }
  const sums = [0, 1, 2, 3].map((j) =>
    flat.reduce((sum, value, i) => sum + value * Number(dense[4 * i + j]), 0),
  );
  const powers = sums.map(Math.exp);
  const total = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / total);
}

for (const executionProvider of ['cpu', 'webgpu'] as const) {
  await describeOn(executionProvider, 'OnnxModel', () => {
    let app: TestingModule;
    const model = (name: string) => app.get<OnnxModel>(getOnnxModelToken(name), { strict: false });
    const types = Object.entries(DataType).filter(([name]) =>
      /^(DOUBLE|FLOAT16|BOOL|U?INT(8|16|32|64))$/.test(name),
    );

    beforeAll(async () => {
      app = await Test.createTestingModule({
        imports: [
          OnnxModule.forRootAsync({ useFactory: () => ({ executionProvider }) }),
          OnnxModule.forFeature([
            { name: 'conv', path: writeModel(conv) },
            { name: 'padded', path: writeModel(conv), batchSizes: [8, 3, 1] },
            { name: 'pair', path: writeModel(pair), selfTest: pairTest },
            { name: 'linear', path: writeModel(linear()) },
          ]),
          OnnxModule.forFeature(
            types.map(([name, type]) => ({ name, path: writeModel(identity(Number(type))) })),
          ),
        ],
      })
        .setLogger({ log: () => undefined, warn: () => undefined, error: () => undefined })
        .compile();
    });
    afterAll(() => app.close());

    it('has its shapes, execution provider and device', () => {
      expect(model('conv')).toMatchObject({
        name: 'conv',
        inputShape: [1, 6, 6],
        outputShape: [4],
        backend: executionProvider,
        ready: true,
      });
      expect(model('conv').device).toMatch(/^(CPU|GPU) \(ONNX Runtime 1\..+\)$/);
      expect(model('pair').inputs).toEqual([
        { name: 'left', shape: [3], dtype: 'float32' },
        { name: 'right', shape: [2], dtype: 'int32' },
      ]);
    });

    it.each(['conv', 'padded'])(
      'gives every input of %s the same in batches of sizes from 1 to 70 as the plain reference',
      async (name) => {
        const inputs = Array.from({ length: 70 }, (_, i) => numbers(36, 100 + i));
        const expected = inputs.map(reference);
        for (const size of [1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 70]) {
          const results = await model(name).predict(inputs.slice(0, size));
          expect(results).toHaveLength(size);
          for (const [i, result] of results.entries()) {
            const differences = [...result].map((score, k) => Math.abs(score - Number(expected[i]?.[k])));
            expect(Math.max(...differences)).toBeLessThan(tolerance);
          }
        }
        const predict = (batch: Float32Array[]) => model(name).predict(batch);
        await expectBatchInvariant(predict, inputs.slice(0, 6), { tolerance });
      },
    );

    it('takes and gives several tensors by name, in the types of the model', async () => {
      const { input, expected } = pairTest;
      expect(await model('pair').predict([input, { left: [0, 0, 0], right: [-1, -1] }])).toEqual([
        expected,
        { twice: Float32Array.of(0, 0, 0), negative: Uint8Array.of(1, 1) },
      ]);
    });

    it('takes bytes', async () => {
      const [result] = await model('linear').predict([Uint8Array.of(1, 255)]);
      expect(result).toEqual(Float32Array.of(10 + 1 + 3 * 255, 20 + 2 + 4 * 255));
    });

    it.each(types.map(([name]) => name))('converts %s from and to the types of a batch', async (name) => {
      const unsigned = name.startsWith('UINT');
      const input = name === 'BOOL' ? [1, 0, 1] : unsigned ? [0, 7, 127] : [-128, 0, 127];
      const results = await model(name).predict([input, [1, 0, 0]]);
      expect(results).toEqual([Float32Array.from(input), Float32Array.of(1, 0, 0)]);
    });

    it.each([
      ['UINT8', [0, 256, 0], "input 'x': uint8 cannot hold 256"],
      ['INT8', [-129, 0, 0], "input 'x': int8 cannot hold -129"],
      ['UINT32', [0, 0, -1], "input 'x': uint32 cannot hold -1"],
      ['UINT64', [0, 0, -1], "input 'x': uint64 cannot hold -1"],
    ])('refuses for %s what it cannot hold', async (name, input, message) => {
      const failed = model(name).predict([input]);
      await expect(failed).rejects.toBeInstanceOf(InferenceError);
      await expect(failed).rejects.toThrow(message);
    });

    it('refuses other inputs as every runtime does, and runs nothing', async () => {
      for (const [input, problem] of [
        [[1], 'must have 2 numbers (2, row-major); it has 1'],
        [[1, NaN], 'number 1 is NaN'],
      ] as const) {
        const refused = model('linear').predict([input]);
        await expect(refused).rejects.toBeInstanceOf(ModelInputError);
        await expect(refused).rejects.toThrow(problem);
      }
    });
  });
}
