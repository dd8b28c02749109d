import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { expectBatchInvariant } from 'nest-batching/testing';
import { getOnnxModelToken, OnnxBackendError, type OnnxModel, OnnxModule } from 'nest-batching/onnx';
import { getTfjsModelToken, type TfjsModel, TfjsModule, type TfjsModelOptions } from 'nest-batching/tfjs';
import { randomNumbers } from '@app/figures';
import { digits, digitsOnnx } from './digits/digits-network.js';
import { loadTestDigits } from './digits/mnist.js';
import { esrganWithTest } from './photos/esrgan.js';

const folder = mkdtempSync(join(tmpdir(), 'networks-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe.each([
  { options: digits(), files: digits().path, weights: 'weights.bin', trials: 20 },
  {
    options: esrganWithTest(),
    files: dirname(esrganWithTest().path),
    weights: 'group1-shard1of1.bin',
    // A tile takes a second on some machines.
    trials: 0,
  },
])('the network $options.name', ({ options, files, weights, trials }) => {
  const copy = mkdtempSync(join(folder, 'copy-'));
  async function start(changed: Partial<TfjsModelOptions>): Promise<void> {
    const imports = [
      TfjsModule.forRoot({ backend: 'wasm' }),
      TfjsModule.forFeature([{ ...options, ...changed }]),
    ];
    const app = await Test.createTestingModule({ imports })
      .setLogger({ log: () => undefined, warn: () => undefined, error: () => undefined })
      .compile();
    await app.close();
  }
  /** Its weights, changed, in another folder. */
  function withWeights(change: (weights: Float32Array) => Float32Array): string {
    cpSync(files, copy, { recursive: true });
    const file = join(copy, weights);
    const changed = change(new Float32Array(new Uint8Array(readFileSync(file)).buffer));
    writeFileSync(file, new Uint8Array(changed.buffer));
    return join(copy, 'model.json');
  }

  it('passes its selfTest, and its files have their checksums', async () => {
    expect(Object.keys(options.checksums ?? {})).toEqual(['model.json', weights]);
    await start({});
  });

  it('gives each picture the same result in every batch, whatever the order and the other pictures', async () => {
    const imports = [TfjsModule.forRoot({ backend: 'wasm' }), TfjsModule.forFeature([options])];
    const app = await Test.createTestingModule({ imports }).compile();
    const model = app.get<TfjsModel>(getTfjsModelToken(options.name));
    const length = model.inputShape.reduce((product, side) => product * side);
    const next = randomNumbers(7);
    const pictures = Array.from({ length: trials > 0 ? 6 : 2 }, () =>
      Uint8Array.from({ length }, () => 256 * next()),
    );
    const predict = (inputs: Uint8Array[]) => model.predict(inputs);
    await expectBatchInvariant(predict, pictures, { tolerance: 1e-4, trials });
    await app.close();
  });

  it.each([
    ['NaN', (weights: Float32Array) => weights.fill(NaN)],
    ['zeros', (weights: Float32Array) => weights.fill(0)],
    ['half of what they were', (weights: Float32Array) => weights.map((weight) => weight / 2)],
  ])('refuses weights of %s, by its checksums and by its selfTest alone', async (_, change) => {
    const path = withWeights(change);
    await expect(start({ path })).rejects.toThrow(
      `${weights} of model '${options.name}' was changed or is damaged`,
    );
    await expect(start({ path, checksums: undefined })).rejects.toThrow(
      `model '${options.name}' is not ready: its selfTest failed on wasm: number 0 of output`,
    );
  });

  it('says what it said before of files that are cut off', async () => {
    const path = withWeights((weights) => weights);
    truncateSync(join(copy, weights), 1000);
    await expect(start({ path })).rejects.toThrow(`found 1000; truncated, or another model's`);
  });
});

const missing = await Test.createTestingModule({
  imports: [OnnxModule.forRoot({ executionProvider: 'cpu' })],
})
  .compile()
  .then(
    (app) => app.close(),
    (error: unknown) => {
      if (error instanceof OnnxBackendError) return error.message;
      throw error;
    },
  );
if (missing) process.stderr.write(`SKIPPED: the network digits as ONNX. ${missing}\n`);

(missing ? describe.skip : describe)('the network digits as ONNX', () => {
  it('gives for test digits the scores of the TensorFlow.js model within 1e-5, alone and in batches', async () => {
    const app = await Test.createTestingModule({
      imports: [
        TfjsModule.forRoot({ backend: 'wasm' }),
        TfjsModule.forFeature([digits()]),
        OnnxModule.forRoot({ executionProvider: 'cpu' }),
        OnnxModule.forFeature([digitsOnnx()]),
      ],
    }).compile();
    const tfjs = app.get<TfjsModel>(getTfjsModelToken('digits'), { strict: false });
    const onnx = app.get<OnnxModel>(getOnnxModelToken('digits'), { strict: false });
    expect(onnx.inputShape).toEqual(tfjs.inputShape);
    expect(onnx.outputShape).toEqual(tfjs.outputShape);
    const pictures = (await loadTestDigits()).slice(0, 1000).map(({ pixels }) => pixels);
    let largest = 0;
    for (const size of [1, 64, 1000]) {
      const some = size === 1 ? pictures.slice(0, 1) : pictures;
      const expected = await tfjs.predict(some);
      for (let i = 0; i < some.length; i += size) {
        for (const [k, scores] of (await onnx.predict(some.slice(i, i + size))).entries()) {
          scores.forEach((score, digit) => {
            largest = Math.max(largest, Math.abs(score - Number(expected[i + k]?.[digit])));
          });
        }
      }
    }
    expect(largest).toBeLessThan(1e-5);
    await app.close();
  });
});
