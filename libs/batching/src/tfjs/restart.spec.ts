import { cpSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getTfjsModelToken,
  ModelNotReadyError,
  type TfjsModel,
  TfjsModule,
  type TfjsModelOptions,
} from 'nest-batching/tfjs';
import { lastWorker, messages, recordingLogger } from '../inference/main/worker.fixture.js';
import { writeDenseModel, writeModule } from './models.fixture.js';

interface Message {
  name: string;
  args: [string, { signature: string }];
}

/** Restarts of the inference worker after the files of a model have changed. */
describe('a model on disk, when the inference worker is started again', () => {
  let app: TestingModule | undefined;
  const { logger, logged } = recordingLogger();
  async function start(path: string, options: Partial<TfjsModelOptions> = {}) {
    const started = (app = await Test.createTestingModule({
      imports: [
        TfjsModule.forRoot({ backend: 'cpu' }),
        TfjsModule.forFeature([
          { name: 'm', path, ...options },
          { name: 'other', path: other.path },
        ]),
      ],
    })
      .setLogger(logger)
      .compile());
    const get = (name: string) => started.get<TfjsModel>(getTfjsModelToken(name), { strict: false });
    return { model: get('m'), neighbour: get('other') };
  }
  afterEach(async () => {
    await app?.close();
    logged.length = 0;
  });

  const restart = () => lastWorker().terminate();
  async function until(what: () => boolean): Promise<void> {
    const deadline = Date.now() + 20_000;
    while (!what()) {
      expect(Date.now()).toBeLessThan(deadline);
      await sleep(20);
    }
  }
  /** Replaces the model's files by those of another model. */
  function replace(path: string, by: string): void {
    rmSync(path, { recursive: true });
    cpSync(by, path, { recursive: true });
  }
  async function expectRefusal(model: TfjsModel, input: number[], message: string | RegExp) {
    const refused = model.predict([input]);
    await expect(refused).rejects.toBeInstanceOf(ModelNotReadyError);
    await expect(refused).rejects.toMatchObject({ code: 'ERR_BATCHING_MODEL_NOT_READY', model: 'm' });
    await expect(refused).rejects.toThrow(message);
    expect(() => {
      model.check(input);
    }).toThrow(ModelNotReadyError);
    expect(model.ready).toBe(false);
  }

  const other = writeDenseModel({ seed: 9 });
  const wide = () => writeDenseModel({ inputs: 4, units: 2 });
  const tall = () => writeDenseModel({ inputs: 2, units: 4 });

  it('serving#1822: refuses a model of other shapes, with an error that names it, and answers again when the files are back', async () => {
    const { path, reference } = wide();
    const { model, neighbour } = await start(path);
    const kept = wide().path;
    replace(path, tall().path);
    await restart();
    const asked = model.predict([[1, 2, 3, 4]]);
    await expect(asked).rejects.toThrow(
      `model 'm' is not ready: ${path} has another model than at the start of the application, which had a layers model: ` +
        `"dense_input" float32[4] to "dense" float32[2]; now it is a layers model: "dense_input" float32[2] to ` +
        '"dense" float32[4]. Put the former files back, or restart the application to take the new model',
    );
    await expectRefusal(model, [1, 2], 'has another model');
    expect(logged).toContainEqual(expect.stringMatching(/^model 'm' is not ready: .*loaded again when its/));
    await expect(neighbour.predict([[1, 2, 3]])).resolves.toHaveLength(1);
    expect(neighbour.ready).toBe(true);

    const before = lastWorker();
    replace(path, kept);
    await until(() => model.ready);
    expect(lastWorker()).toBe(before);
    const [result = []] = await model.predict([[1, 2, 3, 4]]);
    expect([...result]).toEqual(reference([1, 2, 3, 4]).map((score) => expect.closeTo(score, 5) as unknown));
    expect(logged).toContain("model 'm' is ready again");
  });

  const pair = (inputs: string, outputs: string) =>
    `export const inputs = { ${inputs} };
     export const run = (tf, { a, b }) => { ${outputs} };`;
  const inputs = "a: { shape: [2] }, b: { shape: [2], dtype: 'int32' }";
  const outputs = "return { x: tf.clone(a), y: tf.cast(b, 'float32') };";
  it.each([
    ['order of inputs', "b: { shape: [2], dtype: 'int32' }, a: { shape: [2] }", outputs],
    ['type of an input', "a: { shape: [2], dtype: 'int32' }, b: { shape: [2], dtype: 'int32' }", outputs],
    ['shape of an input', "a: { shape: [2, 1] }, b: { shape: [2], dtype: 'int32' }", outputs],
    ['number of inputs', `${inputs}, c: { shape: [1] }`, outputs],
    ['order of outputs', inputs, "return { y: tf.cast(b, 'float32'), x: tf.clone(a) };"],
    ['names of outputs', inputs, "return { x: tf.clone(a), z: tf.cast(b, 'float32') };"],
    ['type of an output', inputs, 'return { x: tf.clone(a), y: tf.clone(b) };'],
    ['shape of an output', inputs, "return { x: tf.reshape(a, [-1, 1, 2]), y: tf.cast(b, 'float32') };"],
    ['number of outputs', inputs, 'return { x: tf.clone(a) };'],
  ])('serving#1822: refuses a model with another %s', async (_, otherInputs, otherOutputs) => {
    const path = writeModule(pair(inputs, outputs));
    const { model } = await start(path);
    const input = { a: [1, 2], b: [3, 4] };
    const expected = [{ x: Float32Array.of(1, 2), y: Float32Array.of(3, 4) }];
    expect(await model.predict([input])).toEqual(expected);
    writeFileSync(path, pair(otherInputs, otherOutputs));
    await restart();
    await expect(model.predict([input])).rejects.toBeInstanceOf(ModelNotReadyError);
    await expect(model.predict([input])).rejects.toThrow(`model 'm' is not ready: ${path} has another model`);
    writeFileSync(path, pair(inputs, outputs));
    await until(() => model.ready);
    expect(await model.predict([input])).toEqual(expected);
  });

  it('accepts other weights of the same shapes, and logs which files have changed', async () => {
    const { path } = wide();
    const { model } = await start(path);
    const changed = writeDenseModel({ inputs: 4, units: 2, seed: 77 });
    cpSync(changed.path, path, { recursive: true });
    await restart();
    const [result = []] = await model.predict([[1, 2, 3, 4]]);
    expect([...result]).toEqual(
      changed.reference([1, 2, 3, 4]).map((score) => expect.closeTo(score, 5) as unknown),
    );
    expect(logged).toContain(
      "model 'm' was changed on disk (weights.bin) and has the same shapes: the changed model is used",
    );
    logged.length = 0;
    await restart();
    await model.predict([[1, 2, 3, 4]]);
    expect(logged.filter((line) => line.includes('changed on disk'))).toEqual([]);
  });

  it.each([
    [
      'cut-off weights',
      (path: string) => {
        truncateSync(join(path, 'weights.bin'), 20);
      },
      /found 20/,
    ],
    [
      'a cut-off model.json',
      (path: string) => {
        truncateSync(join(path, 'model.json'), 99);
      },
      /or is cut off/,
    ],
    [
      'no weights',
      (path: string) => {
        rmSync(join(path, 'weights.bin'));
      },
      /weights\.bin is missing/,
    ],
    [
      'no folder',
      (path: string) => {
        renameSync(path, `${path}-away`);
      },
      /fixture-\w+ is missing/,
    ],
  ])('refuses a model with %s, by name, until they are whole', async (_, damage, message) => {
    const { path } = wide();
    const { model, neighbour } = await start(path);
    const [expected] = await model.predict([[1, 2, 3, 4]]);
    damage(path);
    await restart();
    await expect(model.predict([[1, 2, 3, 4]])).rejects.toMatchObject({
      cause: { code: 'ERR_BATCHING_MODEL_FILE' },
    });
    await expectRefusal(model, [1, 2, 3, 4], message);
    await expect(neighbour.predict([[1, 2, 3]])).resolves.toHaveLength(1);
    // Also over a second death of the worker.
    await restart();
    await neighbour.memory();
    await expectRefusal(model, [1, 2, 3, 4], message);
    const before = lastWorker();
    rmSync(path, { recursive: true, force: true });
    cpSync(wide().path, path, { recursive: true });
    await until(() => model.ready);
    expect(lastWorker()).toBe(before);
    expect(await model.predict([[1, 2, 3, 4]])).toEqual([expected]);
  });

  it.each(['mjs', 'cjs'])(
    'takes a module (%s) again that could not be read for a while',
    async (extension) => {
      const exported = (name: string) => (extension === 'cjs' ? `exports.${name}` : `export const ${name}`);
      const source = `${exported('inputs')} = { x: { shape: [1] } }; ${exported('run')} = (tf, x) => tf.neg(x);`;
      const path = writeModule(source, extension);
      const { model } = await start(path);
      for (const broken of [`${source} ]`, "throw new Error('half a deployment');"]) {
        writeFileSync(path, broken);
        await restart();
        await expect(model.predict([[3]])).rejects.toBeInstanceOf(ModelNotReadyError);
        await expectRefusal(model, [3], 'cannot be used on cpu');
        writeFileSync(path, source);
        await until(() => model.ready);
        expect(await model.predict([[3]])).toEqual([Float32Array.of(-3)]);
      }
    },
  );

  it('refuses weights of NaN that came with a restart', async () => {
    const { path } = wide();
    const { model } = await start(path);
    const weights = readFileSync(join(path, 'weights.bin'));
    writeFileSync(join(path, 'weights.bin'), Buffer.from(new Float32Array(8).fill(NaN).buffer));
    await restart();
    await expect(model.predict([[1, 2, 3, 4]])).rejects.toBeInstanceOf(ModelNotReadyError);
    await expectRefusal(model, [1, 2, 3, 4], /zeros gives NaN in output 'dense'/);
    writeFileSync(join(path, 'weights.bin'), weights);
    await until(() => model.ready);
  });

  it('runs the self-test again, and refuses a model that fails it then', async () => {
    const { path, reference } = wide();
    const selfTest = { input: [1, 2, 3, 4], expected: reference([1, 2, 3, 4]) };
    const { model } = await start(path, { selfTest });
    const weights = readFileSync(join(path, 'weights.bin'));
    cpSync(writeDenseModel({ inputs: 4, units: 2, seed: 5 }).path, path, { recursive: true });
    await restart();
    await expect(model.predict([[1, 2, 3, 4]])).rejects.toBeInstanceOf(ModelNotReadyError);
    await expectRefusal(model, [1, 2, 3, 4], "its selfTest failed on cpu: number 0 of output 'dense' is ");
    writeFileSync(join(path, 'weights.bin'), weights);
    await until(() => model.ready);
    await expect(model.predict([[1, 2, 3, 4]])).resolves.toHaveLength(1);
  });

  it('serving#1822: the worker refuses a batch that was laid out for another model', async () => {
    const { model } = await start(wide().path);
    // The spy calls through from the second message on.
    messages.mockImplementationOnce(function (this: Worker, message: Message) {
      const [name, batch] = message.args;
      const other = { ...batch, signature: batch.signature.replace('[4]', '[2]') };
      this.postMessage({ ...message, args: [name, other] });
    });
    await expect(model.predict([[1, 2, 3, 4]])).rejects.toBeInstanceOf(ModelNotReadyError);
    await expect(model.predict([[1, 2, 3, 4]])).resolves.toHaveLength(1);
  });
});
