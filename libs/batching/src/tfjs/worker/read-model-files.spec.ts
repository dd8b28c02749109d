import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { ModelFileError } from '../../inference/errors.js';
import { readModelFiles } from './read-model-files.js';
import { temporaryFolder, writeDenseModel } from '../models.fixture.js';

interface ModelJson {
  weightsManifest: {
    paths: string[];
    weights: { shape: number[]; dtype: string; quantization?: object }[];
  }[];
}

describe('readModelFiles', () => {
  const whole = writeDenseModel({ inputs: 3, units: 2 }).path;
  /** A copy of the model, to break. */
  function copy(): {
    path: string;
    json: string;
    weights: string;
    edit: (change: (model: ModelJson) => void) => void;
  } {
    const path = temporaryFolder();
    cpSync(whole, path, { recursive: true });
    const json = join(path, 'model.json');
    const edit = (change: (model: ModelJson) => void) => {
      const model = JSON.parse(readFileSync(json, 'utf8')) as ModelJson;
      change(model);
      writeFileSync(json, JSON.stringify(model));
    };
    return { path, json, weights: join(path, 'weights.bin'), edit };
  }

  async function expectError(path: string, message: string): Promise<void> {
    const read = readModelFiles(path);
    await expect(read).rejects.toBeInstanceOf(ModelFileError);
    await expect(read).rejects.toMatchObject({ code: 'ERR_BATCHING_MODEL_FILE', message });
  }

  it('takes the folder or the model.json', async () => {
    const fromFolder = await readModelFiles(whole);
    expect(fromFolder.weightData.map(({ byteLength }) => byteLength)).toEqual([24]);
    expect(await readModelFiles(join(whole, 'model.json'))).toEqual(fromFolder);
  });

  it('joins the shards of a group', async () => {
    const { path, weights, edit } = copy();
    const bytes = readFileSync(weights);
    writeFileSync(join(path, 'a.bin'), bytes.subarray(0, 16));
    writeFileSync(join(path, 'b.bin'), bytes.subarray(16));
    edit(({ weightsManifest: [group] }) => {
      if (group) group.paths = ['a.bin', 'b.bin'];
    });
    const { weightData } = await readModelFiles(path);
    expect(Buffer.concat(weightData.map((shard) => new Uint8Array(shard)))).toEqual(bytes);

    truncateSync(join(path, 'a.bin'), 10);
    await expectError(
      path,
      `${path}/a.bin (10 bytes), ${path}/b.bin (8 bytes): expected 24 bytes of weights, found 18; ` +
        "truncated, or another model's",
    );
  });

  it('names a missing folder, model.json or weight file', async () => {
    await expectError('/no/such/model', '/no/such/model is missing');
    const { path, json, weights } = copy();
    rmSync(weights);
    await expectError(path, `${weights} is missing`);
    rmSync(json);
    await expectError(path, `${json} is missing`);
  });

  it('names a weight file of the wrong size, with the size expected and found', async () => {
    const { path, weights } = copy();
    truncateSync(weights, 23);
    const message = (found: number) =>
      `${weights} (${found} bytes): expected 24 bytes of weights, found ${found}; truncated, or another model's`;
    await expectError(path, message(23));
    truncateSync(weights, 28);
    await expectError(path, message(28));
  });

  it('knows the size of quantised weights, and that strings have none', async () => {
    const { path, weights, edit } = copy();
    edit(({ weightsManifest }) => {
      for (const weight of weightsManifest.flatMap(({ weights }) => weights))
        weight.quantization = { dtype: 'uint8' };
    });
    truncateSync(weights, 6);
    await expect(readModelFiles(path)).resolves.toBeDefined();
    edit(({ weightsManifest }) => {
      weightsManifest[0]?.weights.push({ shape: [1], dtype: 'string' });
    });
    await expect(readModelFiles(path)).resolves.toBeDefined();
  });

  it.each<[string, string | Uint8Array, string]>([
    ['a byte order mark', '\uFEFF{}', 'it begins with a byte order mark; save it as UTF-8 without one'],
    [
      'UTF-16',
      Buffer.from('\uFEFF{}', 'utf16le'),
      'it is UTF-16, with a byte order mark; save it as UTF-8 without one',
    ],
    [
      'a pointer of Git LFS',
      'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 8\n',
      'it is a pointer of Git LFS; get the file itself with `git lfs pull`',
    ],
    [
      'the .keras of Keras 3',
      'PK\u0003\u0004…',
      'it is a zip archive, as Keras 3 writes (.keras); convert it with',
    ],
    [
      'the .h5 of Keras',
      Uint8Array.of(0x89, 0x48, 0x44, 0x46, 0x0d),
      'it is HDF5, as Keras writes (.h5); convert it with',
    ],
  ])('tfjs#8494: hints at what to do with %s', async (_, content, hint) => {
    const { path, json, weights } = copy();
    writeFileSync(weights, content);
    await expect(readModelFiles(path)).rejects.toThrow(`truncated, or another model's: ${hint}`);
    writeFileSync(json, content);
    await expect(readModelFiles(path)).rejects.toBeInstanceOf(ModelFileError);
    await expect(readModelFiles(path)).rejects.toThrow(`is not JSON, or is cut off: ${hint}`);
    await expect(readModelFiles(json)).rejects.toThrow(hint);
  });

  it('distinguishes a model.json that is cut off from another file', async () => {
    const { path, json } = copy();
    truncateSync(json, 100);
    await expectError(path, `${json} (100 bytes) is not JSON, or is cut off`);
    for (const other of [
      '{}',
      'null',
      '[1]',
      '{"modelTopology":null,"weightsManifest":[]}',
      '{"weightsManifest":[]}',
    ]) {
      writeFileSync(json, other);
      await expectError(
        path,
        `${json} is not a TensorFlow.js model: it needs modelTopology and weightsManifest`,
      );
    }
  });
});
