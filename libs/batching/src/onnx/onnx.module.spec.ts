import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { type DynamicModule, Module } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  getOnnxModelToken,
  InferenceWorkerError,
  InjectOnnxModel,
  ModelFileError,
  ModelNotReadyError,
  OnnxModel,
  OnnxModule,
  OnnxModuleError,
  type OnnxModelOptions,
  UnsupportedModelError,
} from 'nest-batching/onnx';
import { lastWorker, recordingLogger } from '../inference/main/worker.fixture.js';
import {
  DataType,
  describeOn,
  floats,
  type Graph,
  identity,
  integers,
  linear,
  modelBytes,
  newFolder,
  writeModel,
} from './models.fixture.js';

const forCpu = () => OnnxModule.forRoot({ executionProvider: 'cpu' });
const forModel = (path: string, options: Partial<OnnxModelOptions> = {}) =>
  OnnxModule.forFeature([{ name: 'm', path, ...options }]);

describe('OnnxModule', () => {
  it('refuses options that cannot be', async () => {
    const wrong = OnnxModule.forRoot({ executionProvider: 'gpu' as 'cpu' });
    await expect(Test.createTestingModule({ imports: [wrong] }).compile()).rejects.toThrow(
      new RangeError(
        "OnnxModule: executionProvider must be one of auto, cuda, webgpu, tensorrt, dml, coreml, cpu; it is 'gpu'",
      ),
    );
    const silent = OnnxModule.forRoot({ executionProvider: 'cpu', heartbeat: 0 });
    await expect(Test.createTestingModule({ imports: [silent] }).compile()).rejects.toThrow(
      'OnnxModule: heartbeat must be a number of milliseconds above 0',
    );
    expect(() => forModel('x.onnx', { batchSizes: [0] })).toThrow(
      "OnnxModule.forFeature: batchSizes of model 'm' must be whole numbers from 1",
    );
    const listedTwice = () =>
      OnnxModule.forFeature([
        { name: 'm', path: 'a.onnx' },
        { name: 'm', path: 'b.onnx' },
      ]);
    expect(listedTwice).toThrow(OnnxModuleError);
    await expect(Test.createTestingModule({ imports: [forModel('x.onnx')] }).compile()).rejects.toThrow(
      new OnnxModuleError("model 'm' needs OnnxModule.forRoot() among the imports of the root module"),
    );
  });

  it.each([
    ['is not installed', '', 'onnxruntime-node is not installed; npm install onnxruntime-node'],
    [
      'has no binary',
      "throw Object.assign(new Error('no onnxruntime_binding.node'), { code: 'MODULE_NOT_FOUND' });",
      /onnxruntime-node has no binary that loads on .*; npm install onnxruntime-node again.*: no onnxruntime_binding.node/,
    ],
    [
      'was installed without its script',
      `exports.env = { versions: {} };
       exports.listSupportedBackends = () => [{ name: 'cpu', bundled: true }, { name: 'cuda', bundled: false }];`,
      /without the libraries of cuda, which its install script fetches: .*ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild/,
    ],
  ])('says what to install where the package %s', (_, source, message) => {
    const folder = installedWith(source);
    const script = `
      import('${folder}/onnx/worker/start-provider.js').then(async ({ startProvider }) => {
        const { code, message } = await startProvider('cuda').catch((error) => error);
        process.stdout.write(JSON.stringify({ code, message }));
      });`;
    const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 25_000 });
    rmSync(folder, { recursive: true });
    const error = JSON.parse(stdout) as { code: string; message: string };
    expect(error.code).toBe('ERR_BATCHING_BACKEND');
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^execution provider cuda cannot start; /);
  });
});

/** The built library in a folder of its own, with an `onnxruntime-node` of this source unless that is empty. */
function installedWith(source: string): string {
  const folder = newFolder();
  cpSync(join(import.meta.dirname, '../../../../dist/libs/batching'), folder, { recursive: true });
  if (source !== '') {
    const ort = join(folder, 'node_modules/onnxruntime-node');
    mkdirSync(ort, { recursive: true });
    writeFileSync(join(ort, 'package.json'), '{ "name": "onnxruntime-node", "main": "index.js" }');
    writeFileSync(join(ort, 'index.js'), source);
  }
  return folder;
}

await describeOn('cpu', 'an application with OnnxModule', () => {
  let app: TestingModule | undefined;
  const { logger, logged } = recordingLogger();
  async function start(...imports: DynamicModule[]): Promise<TestingModule> {
    return (app = await Test.createTestingModule({ imports: [forCpu(), ...imports] })
      .setLogger(logger)
      .compile());
  }
  const model = () => {
    if (!app) throw new Error('start() comes first');
    return app.get<OnnxModel>(getOnnxModelToken('m'), { strict: false });
  };
  afterEach(async () => {
    await app?.close();
    app = undefined;
    logged.length = 0;
  });

  it('injects a model that answers, and logs what it runs on', async () => {
    @Module({})
    class User {
      constructor(@InjectOnnxModel('m') readonly model: OnnxModel) {}
    }
    const path = writeModel(linear());
    const module = { module: User, imports: [forModel(path)] };
    const { model } = (await start(module)).get(User);
    expect(model).toBeInstanceOf(OnnxModel);
    expect(await model.predict([[1, 1]])).toEqual([Float32Array.of(14, 26)]);
    expect(logged.join('\n')).toMatch(/^backend cpu on CPU \(ONNX Runtime [\d.]+\)$/m);
    expect((await model.memory()).bytes).toBe(readFileSync(path).byteLength);
  });

  it('takes the CPU where no GPU works, and says why', async () => {
    app = await Test.createTestingModule({ imports: [OnnxModule.forRoot(), forModel(writeModel(linear()))] })
      .setLogger(logger)
      .compile();
    if (model().backend !== 'cpu') return;
    expect(logged.join('\n')).toMatch(/backend cpu on CPU .*; passed over cuda: .+; passed over webgpu: .+/);
  });

  const missing = join(newFolder(), 'none.onnx');
  const truncated = writeModel(linear());
  truncateSync(truncated, 100);
  const pointer = join(newFolder(), 'model.onnx');
  writeFileSync(pointer, 'version https://git-lfs.github.com/spec/v1\n');
  const two = newFolder();
  copyFileSync(writeModel(linear()), join(two, 'a.onnx'));
  copyFileSync(writeModel(linear()), join(two, 'b.onnx'));
  it.each([
    ['is missing', missing, `${missing} is missing`],
    ['is cut off', truncated, `${truncated} (100 bytes) is no ONNX model, or is cut off`],
    ['is a pointer of Git LFS', pointer, 'it is a pointer of Git LFS'],
    ['is one of two in the folder', two, 'must have one file .onnx or .ort; it has a.onnx, b.onnx'],
  ])('stops the start with a ModelFileError for a file that %s', async (_, path, message) => {
    const started = start(forModel(path));
    await expect(started).rejects.toBeInstanceOf(ModelFileError);
    await expect(started).rejects.toThrow(message);
  });

  const one: Graph = { ...linear(), inputs: { x: { shape: [1, 2] } }, outputs: { y: { shape: [1, 2] } } };
  const unknownOp: Graph = { ...linear(), nodes: [{ opType: 'NoSuchOp', input: ['x'], output: ['y'] }] };
  const open: Graph = { ...linear(), inputs: { x: { shape: ['n', 'm'] } } };
  /** Looks open, and is made for a batch of one all the same. */
  const reshaped: Graph = {
    ...linear(),
    nodes: [{ opType: 'Reshape', input: ['x', 'shape'], output: ['y'] }],
    constants: [integers('shape', [1, -1])],
  };
  it.each([
    [
      'is made for a batch of one',
      one,
      "input 'x' float32[1, 2] is for batches of 1: export the model with an open",
    ],
    ['reshapes batches to one', reshaped, "2 inputs gave an output 'y' of shape [1, 4], not one per input"],
    ['has an unknown op', unknownOp, 'NoSuchOp'],
    ['leaves other dimensions open', open, 'give its shape by the option inputShape'],
    [
      'takes strings',
      identity(DataType.STRING),
      "input 'x' is of strings, and batches are passed in shared memory",
    ],
  ])('stops the start with an UnsupportedModelError for a model that %s', async (_, graph, message) => {
    const started = start(forModel(writeModel(graph)));
    await expect(started).rejects.toBeInstanceOf(UnsupportedModelError);
    await expect(started).rejects.toThrow(message);
  });

  it('stops the start for weights that are NaN, another checksum, or a selfTest with another result', async () => {
    const nan = writeModel(linear({ bias: [NaN, 0] }));
    await expect(start(forModel(nan))).rejects.toThrow("an input of zeros gives NaN in output 'y'");
    const path = writeModel(linear());
    const wrongSum = start(forModel(path, { checksums: { 'model.onnx': '0'.repeat(64) } }));
    await expect(wrongSum).rejects.toBeInstanceOf(ModelFileError);
    const wrongResult = start(forModel(path, { selfTest: { input: [1, 1], expected: [14, 0] } }));
    await expect(wrongResult).rejects.toBeInstanceOf(ModelNotReadyError);
    await expect(wrongResult).rejects.toThrow("number 1 of output 'y' is 26; expected is 0");
  });

  it('refuses a result beyond 32 bits, and goes on', async () => {
    const graph: Graph = {
      inputs: { x: { type: DataType.INT64, shape: ['n', 1] } },
      outputs: { y: { type: DataType.INT64, shape: ['n', 1] } },
      nodes: [{ opType: 'Mul', input: ['x', 'x'], output: ['y'] }],
    };
    await start(forModel(writeModel(graph)));
    await expect(model().predict([[100_000]])).rejects.toThrow(
      "model 'm' failed on cpu: output 'y': 10000000000 is beyond 32 bits, and results are int32",
    );
    expect(await model().predict([[-7]])).toEqual([Float32Array.of(49)]);
  });

  it('reads weights that are in files beside the model, and names one that is missing', async () => {
    const { nodes, inputs, outputs } = linear();
    const folder = newFolder();
    const outside = (name: string, dims: number[]) => ({
      name,
      dims,
      dataType: DataType.FLOAT,
      dataLocation: 1,
      externalData: [{ key: 'location', value: `${name}.bin` }],
    });
    const constants = [outside('weights', [2, 2]), outside('bias', [2])];
    writeFileSync(join(folder, 'model.onnx'), modelBytes({ inputs, outputs, nodes, constants }));
    writeFileSync(join(folder, 'weights.bin'), Float32Array.of(1, 2, 3, 4));
    writeFileSync(join(folder, 'bias.bin'), Float32Array.of(10, 20));
    await start(forModel(folder));
    expect(await model().predict([[1, 1]])).toEqual([Float32Array.of(14, 26)]);
    await app?.close();
    const wrongSum = start(forModel(folder, { checksums: { 'bias.bin': '0'.repeat(64) } }));
    await expect(wrongSum).rejects.toThrow("bias.bin of model 'm' was changed or is damaged");
    rmSync(join(folder, 'bias.bin'));
    await expect(start(forModel(folder))).rejects.toThrow('bias.bin');
  });

  it('rejects the batches of a worker that is silent beyond the heartbeat, and is back with its model', async () => {
    const side = 512;
    const identityMatrix = Float32Array.from({ length: side ** 2 }, (_, i) => (i % (side + 1) === 0 ? 1 : 0));
    const products = Array.from({ length: 20 }, (_, i) => ({
      opType: 'MatMul',
      input: [`x${i}`, 'same'],
      output: [`x${i + 1}`],
    }));
    const slow: Graph = {
      inputs: { x0: { shape: ['n', side] } },
      outputs: { x20: { shape: ['n', side] } },
      nodes: products,
      constants: [floats('same', [side, side], identityMatrix)],
    };
    app = await Test.createTestingModule({
      imports: [OnnxModule.forRoot({ executionProvider: 'cpu', heartbeat: 100 }), forModel(writeModel(slow))],
    })
      .setLogger(logger)
      .compile();
    const input = new Float32Array(side).fill(3);
    // For the first batch the worker computes for hundreds of milliseconds.
    const pending = [4000, 1].map((size) => model().predict(Array.from({ length: size }, () => input)));
    for (const outcome of await Promise.allSettled(pending)) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: expect.any(InferenceWorkerError) as unknown,
      });
    }
    const deadline = Date.now() + 20_000;
    while (!model().ready && Date.now() < deadline) await sleep(10);
    expect(await model().predict([input])).toEqual([input]);
    expect(logged.join('\n')).toMatch(
      /the inference worker gave no answer to model 'm' for \d+ ms and (was|cannot be) ended/,
    );
  });

  it('refuses a model whose file became another one, when the worker is started again', async () => {
    const path = writeModel(linear());
    await start(forModel(path));
    writeFileSync(path, modelBytes(identity(DataType.FLOAT)));
    await lastWorker().terminate();
    const refused = model().predict([[1, 1]]);
    await expect(refused).rejects.toBeInstanceOf(ModelNotReadyError);
    await expect(refused).rejects.toThrow('has another model than at the start of the application');
  });

  it('does not grow over 200,000 predictions in batches of all sizes', async () => {
    // Inputs, and results as well, have 200 MB together: twice the bound below, which leaves room for garbage.
    const width = 256;
    const wide: Graph = {
      inputs: { x: { shape: ['n', width] } },
      outputs: { y: { shape: ['n', width] } },
      nodes: [{ opType: 'Abs', input: ['x'], output: ['y'] }],
    };
    await start(forModel(writeModel(wide)));
    const input = new Float32Array(width).fill(-1);
    const predict = async (count: number): Promise<void> => {
      for (let batch = 0, done = 0; done < count; batch++) {
        const size = 1 + ((batch * 397) % 512);
        await model().predict(Array.from({ length: size }, () => input));
        done += size;
      }
    };
    await predict(50_000);
    const before = { memory: await model().memory(), rss: process.memoryUsage.rss() };
    await predict(200_000);
    expect(await model().memory()).toEqual(before.memory);
    expect(process.memoryUsage.rss() - before.rss).toBeLessThan(100 * 2 ** 20);
  });
});
