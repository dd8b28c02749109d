import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { TfjsModule, type TfjsModelOptions } from 'nest-batching/tfjs';
import { digits } from './digits/digits-network.js';
import { esrganWithTest } from './photos/esrgan.js';

const folder = mkdtempSync(join(tmpdir(), 'networks-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe.each([
  { options: digits(), files: digits().path, weights: 'weights.bin' },
  {
    options: esrganWithTest(),
    files: dirname(esrganWithTest().path),
    weights: 'group1-shard1of1.bin',
  },
])('the network $options.name', ({ options, files, weights }) => {
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
