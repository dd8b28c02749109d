import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString, serialize } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  createSession,
  getBatchedToken,
  PayloadError,
  SessionInterruptedError,
} from 'nest-batching';
import { getOnnxModelToken, OnnxModule } from 'nest-batching/onnx';
import { MemoryBroker, memoryTransport } from 'nest-batching/testing';
import {
  getTfjsModelToken,
  InferenceError,
  ModelInputError,
  type ModelState,
  type ModelStep,
  type ModelStepResult,
  StateLimitError,
  StateLostError,
  type TfjsModel,
  TfjsModule,
  type TfjsModelOptions,
  UnsupportedModelError,
} from 'nest-batching/tfjs';
import { writeModel } from '../../onnx/models.fixture.js';
import { temporaryFolder, writeModule } from '../../tfjs/models.fixture.js';
import { msgpackCodec } from '../../transport/msgpack-codec.js';
import { recordingLogger } from './worker.fixture.js';

/**
 * A running sum: `y` and `next` are `sum + x`. For an `x` of -1 it fails, and for -2 its thread ends. `thread` is the thread
 * that ran it.
 */
const code = `
  import { threadId } from 'node:worker_threads';
  export const inputs = { x: { shape: [2] }, sum: { shape: [2] } };
  export const run = async (tf, { x, sum }) => {
    const least = Math.min(...(await x.data()));
    if (least === -1) throw new Error('no such x');
    if (least === -2) process.exit(9);
    const y = tf.add(sum, x);
    return { y, next: tf.clone(y), thread: tf.fill([x.shape[0], 1], threadId) };
  };`;
const sums = writeModule(code);
/** The same, which is not loaded while the file `hold` is there. */
const hold = join(temporaryFolder(), 'hold');
const slowToStart = writeModule(`
  import { existsSync } from 'node:fs';
  while (existsSync(${JSON.stringify(hold)})) await new Promise((resolve) => setTimeout(resolve, 5));
  ${code}`);
const option = { state: { sum: 'next' } };
/** The same in ONNX. */
const onnxSums = writeModel({
  inputs: { x: { shape: ['n', 2] }, sum: { shape: ['n', 2] } },
  outputs: { y: { shape: ['n', 2] }, next: { shape: ['n', 2] } },
  nodes: [
    { opType: 'Add', input: ['x', 'sum'], output: ['y'] },
    { opType: 'Identity', input: ['y'], output: ['next'] },
  ],
});

type Model = Pick<TfjsModel, 'step' | 'openState' | 'states' | 'predict' | 'memory' | 'workers'>;

const apps: TestingModule[] = [];
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
});

async function start(options: Partial<TfjsModelOptions> = option, workers = 1): Promise<Model> {
  const app = await Test.createTestingModule({
    imports: [
      TfjsModule.forRoot({ backend: 'cpu', workers }),
      TfjsModule.forFeature([{ name: 'sums', path: sums, ...options }]),
    ],
  })
    .setLogger(recordingLogger().logger)
    .compile();
  apps.push(app);
  return app.get<TfjsModel>(getTfjsModelToken('sums'), { strict: false });
}

async function startOnnx(): Promise<Model> {
  const app = await Test.createTestingModule({
    imports: [
      OnnxModule.forRoot({ executionProvider: 'cpu' }),
      OnnxModule.forFeature([{ name: 'sums', path: onnxSums, ...option }]),
    ],
  }).compile();
  apps.push(app);
  return app.get<Model>(getOnnxModelToken('sums'), { strict: false });
}

const step = (state: ModelState, ...x: [number, number]): ModelStep => ({ input: { x }, state });

function ok(result: ModelStepResult | Error | undefined): ModelStepResult {
  if (!result || result instanceof Error) throw result ?? new Error('no result');
  return result;
}

/** One step of one stream. */
async function one(model: Model, state: ModelState, ...x: [number, number]) {
  const [result] = await model.step([step(state, ...x)]);
  const { output, state: next } = ok(result);
  return { y: [...(output.y ?? [])], thread: Number(output.thread?.[0]), state: next };
}

async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('The state of a stream in an inference worker', () => {
  it.each([
    ['TensorFlow.js', start],
    ['ONNX Runtime', startOnnx],
  ])('goes from step to step, each stream its own, on %s', async (_, startModel) => {
    const model = await startModel();
    let states = [1, 2, 3].map(() => model.openState());
    const sumsSoFar: number[][][] = [];
    for (const round of [1, 2, 3]) {
      const results = await model.step(states.map((state, i) => step(state, round, 10 ** i)));
      sumsSoFar.push(results.map((result) => [...(ok(result).output.y ?? [])]));
      for (const state of states) state.dispose();
      states = results.map((result) => ok(result).state);
    }
    expect(sumsSoFar.at(-1)).toEqual([
      [6, 3],
      [6, 30],
      [6, 300],
    ]);
    expect(Object.keys(ok((await model.step([step(model.openState(), 1, 1)]))[0]).output)).not.toContain(
      'next',
    );
    // `predict` takes and returns all tensors, as before.
    expect(await model.predict([{ x: [1, 2], sum: [3, 4] }])).toMatchObject([
      { next: Float32Array.of(4, 6) },
    ]);
  });

  it('never changes: a step may be repeated, and two steps may go on from one state', async () => {
    const model = await start();
    const { state } = await one(model, model.openState(), 1, 1);
    const [first, again] = await Promise.all([one(model, state, 2, 2), one(model, state, 2, 2)]);
    expect([first.y, again.y]).toEqual([
      [3, 3],
      [3, 3],
    ]);
    first.state.dispose();
    expect((await one(model, again.state, 1, 0)).y).toEqual([4, 3]);
    await expect(one(model, state, -1, 0)).rejects.toThrow(InferenceError);
    expect((await one(model, state, 5, 5)).y).toEqual([6, 6]);
  });

  it('begins with zeros, or with what is given, which is copied', async () => {
    const model = await start();
    const initial = Float32Array.of(40, 50);
    const state = model.openState({ sum: initial });
    initial.fill(0);
    expect((await one(model, state, 1, 1)).y).toEqual([41, 51]);
    expect(() => model.openState({ sum: [1] })).toThrow(ModelInputError);
    expect(() => model.openState({ x: [1, 1], sum: [1, 1] })).toThrow("'x', which the model does not take");
  });

  it('is refused in its place if it is none, of another model, or disposed of; the other steps run', async () => {
    const model = await start();
    const other = await startOnnx();
    const disposed = model.openState();
    disposed.dispose();
    const bad: unknown[] = [disposed, other.openState(), {}, undefined];
    const results = await model.step([
      ...bad.map((state) => step(state as ModelState, 1, 1)),
      { input: { x: [NaN, 1] }, state: model.openState() },
      { input: { x: [1, 1], sum: [1, 1] }, state: model.openState() },
      step(model.openState(), 7, 8),
    ]);
    expect(results.slice(0, -1).map((error) => error instanceof ModelInputError)).toEqual(
      Array(6).fill(true),
    );
    expect(results.slice(0, -1).map((error) => (error as Error).message)).toEqual([
      "input 0 of model 'sums' has a state that has been disposed of",
      "input 1 of model 'sums' has a state of another model, or of another application",
      "input 2 of model 'sums' has a state that is no ModelState: open one with openState()",
      "input 3 of model 'sums' has a state that is no ModelState: open one with openState()",
      expect.stringContaining('number 0 is NaN'),
      expect.stringContaining("'sum', which the model does not take"),
    ]);
    expect([...(ok(results.at(-1)).output.y ?? [])]).toEqual([7, 8]);
    await expect(model.step('steps' as never)).rejects.toThrow('must be an array of { input, state }');
  });

  it('takes up no more memory after 100,000 steps of streams that come and go', async () => {
    const model = await start();
    const run = async (rounds: number) => {
      let states: ModelState[] = [];
      for (let round = 0; round < rounds; round++) {
        // A tenth of the streams ends, and as many begin.
        for (const state of states.splice(0, 100)) state.dispose();
        while (states.length < 1000) states.push(model.openState());
        const results = await model.step(states.map((state) => step(state, 1, 1)));
        for (const state of states) state[Symbol.dispose]();
        states = results.map((result) => ok(result).state);
      }
      for (const state of states) state.dispose();
      expect(model.states).toBe(0);
      await until(async () => (await model.memory()).states === 0);
    };
    await run(2);
    const before = await model.memory();
    await run(100);
    expect(await model.memory()).toEqual({ ...before, stateBytes: 0 });
  });

  it('is freed when it is collected as garbage, as that of a step whose caller has gone', async () => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const model = await start();
    for (let i = 0; i < 20; i++) await one(model, model.openState(), 1, 1);
    expect((await model.memory()).states).toBe(20);
    await until(async () => {
      gc();
      return model.states === 0 && (await model.memory()).states === 0;
    });
  });

  it('is bounded in number', async () => {
    const model = await start({ ...option, maxStates: 2 });
    const [first, second] = [model.openState(), model.openState()];
    expect(() => model.openState()).toThrow(StateLimitError);
    const kept = [await one(model, first, 1, 1), await one(model, second, 1, 1)];
    await expect(one(model, first, 1, 1)).rejects.toThrow(new StateLimitError('sums', 4));
    for (const { state } of kept) state.dispose();
    expect((await one(model, first, 1, 1)).y).toEqual([1, 1]);
    second.dispose();
    second.dispose();
    expect(model.states).toBe(2);
  });

  it('is lost with its worker; streams that begin go on, and one that is repeated', async () => {
    const model = await start();
    const { state } = await one(model, model.openState(), 1, 1);
    const fresh = model.openState();
    const dying = await model.step([step(state, -2, 1), step(fresh, 1, 1)]);
    expect(dying.map((error) => (error as Error).name)).toEqual(['StateLostError', 'InferenceWorkerError']);
    expect(dying[0]).toMatchObject({ code: 'ERR_BATCHING_STATE', kind: 'unavailable' });
    // The next thread does not have it either, and runs the others of the batch.
    const [lost, begun] = await model.step([step(state, 1, 1), step(fresh, 3, 3)]);
    expect(lost).toBeInstanceOf(StateLostError);
    expect([...(ok(begun).output.y ?? [])]).toEqual([3, 3]);
    state.dispose();
    expect((await one(model, ok(begun).state, 1, 1)).y).toEqual([4, 4]);
  });

  it('stays in its worker, of several; a worker that dies takes its streams along, and no others', async () => {
    const model = await start(option, 2);
    const begun = await model.step(Array.from({ length: 8 }, () => step(model.openState(), 1, 1)));
    const streams = begun.map((result) => ({
      thread: Number(ok(result).output.thread?.[0]),
      state: ok(result).state,
    }));
    const threads = new Set(streams.map(({ thread }) => thread));
    expect(threads.size).toBe(2);
    for (let i = 0; i < 3; i++) {
      const results = await model.step(streams.map(({ state }) => step(state, i, 1)));
      expect(results.map((result) => Number(ok(result).output.thread?.[0]))).toEqual(
        streams.map(({ thread }) => thread),
      );
    }
    const [dead] = threads;
    const results = await model.step(
      streams.map(({ thread, state }) => step(state, thread === dead ? -2 : 5, 1)),
    );
    expect(results.map((result) => result instanceof StateLostError)).toEqual(
      streams.map(({ thread }) => thread === dead),
    );
  });

  it('is known to be lost at once while its worker starts again, so that streams of other workers go on', async () => {
    const model = await start({ ...option, path: slowToStart }, 2);
    const begun = await model.step(Array.from({ length: 4 }, () => step(model.openState(), 1, 1)));
    const streams = begun.map((result) => ({
      thread: Number(ok(result).output.thread?.[0]),
      state: ok(result).state,
    }));
    const dead = streams[0]?.thread;
    writeFileSync(hold, '');
    try {
      await model.step(streams.map(({ thread, state }) => step(state, thread === dead ? -2 : 5, 1)));
      const results = await model.step(streams.map(({ state }) => step(state, 7, 1)));
      expect(results.map((result) => (result instanceof Error ? result.name : result.output.y?.[0]))).toEqual(
        streams.map(({ thread }) => (thread === dead ? 'StateLostError' : 8)),
      );
    } finally {
      rmSync(hold);
    }
  });

  it('is freed by its session, and stays that of the last good step', async () => {
    const model = await start();
    const session = createSession<[number, number], ModelState, number[]>(
      async ({ input, state }) => {
        const { y, state: next } = await one(model, state, ...input);
        return { output: y, state: next };
      },
      { initialState: () => model.openState() },
    );
    expect(await Promise.all([session.push([1, 1]), session.push([2, 2])])).toEqual([
      [1, 1],
      [3, 3],
    ]);
    const [failed, behind] = await Promise.allSettled([session.push([-1, 0]), session.push([4, 4])]);
    expect(failed).toMatchObject({ reason: expect.any(InferenceError) as unknown });
    expect(behind).toMatchObject({ reason: expect.any(SessionInterruptedError) as unknown });
    expect(await session.push([4, 4])).toEqual([7, 7]);
    expect(model.states).toBe(1);
    await session.close();
    expect(model.states).toBe(0);
    await until(async () => (await model.memory()).states === 0);
  });

  it('cannot leave its process', async () => {
    const model = await start();
    const state = model.openState();
    expect(() => msgpackCodec.pack({ input: 1, state }, 0)).toThrow('a ModelState cannot leave its process');
    expect(() => serialize({ state })).toThrow('could not be cloned');
    expect(() => JSON.stringify({ state })).toThrow('a ModelState cannot leave its process');

    const broker = new MemoryBroker();
    const transport = () => memoryTransport({ broker });
    const node = (options: object, providers: (typeof Stepper)[]) =>
      Test.createTestingModule({
        imports: [BatchingModule.forRoot({ transport: transport(), ...options })],
        providers,
      })
        .compile()
        .then(async (app) => {
          apps.push(app);
          return app.init();
        });
    await node({ serve: [Stepper] }, [Stepper]);
    const web = await node({ remote: [Stepper] }, []);
    const { hear } = web.get<Batched<Stepper>>(getBatchedToken(Stepper), { strict: false });
    await expect(hear({ input: { x: [1, 1] }, state })).rejects.toThrow(PayloadError);
  });

  it('is refused at the start if the model has no such tensors', async () => {
    for (const [state, why] of [
      [{ h: 'next' }, "state names 'h', which is no input of the model; it has 'x', 'sum'"],
      [{ sum: 'h' }, "state names 'h', which is no output of the model; it has 'y', 'next', 'thread'"],
      [
        { sum: 'thread' },
        "the output 'thread' float32[1] cannot be the next state of the input 'sum' float32[2]",
      ],
      [{ sum: 'next', x: 'next' }, 'state names an output twice'],
      [{ sum: 'next', x: 'y' }, 'the model needs an input besides its state'],
    ] as const) {
      const refused = start({ state });
      await expect(refused).rejects.toThrow(UnsupportedModelError);
      await expect(refused).rejects.toThrow(why);
    }
    await expect(start({ state: {} })).rejects.toThrow("must name outputs by inputs: { h: 'nextH' }");
    await expect(start({ ...option, maxStates: 0 })).rejects.toThrow(RangeError);
    await expect(start({ maxStates: 5 })).rejects.toThrow('is for models with the option state');
    const model = await start({});
    expect(() => model.openState()).toThrow('register it with the option state');
    await expect(model.step([])).rejects.toThrow('register it with the option state');
  });
});

@Injectable()
class Stepper {
  @BatchedService(8, 1)
  hear(steps: readonly ModelStep[]): Promise<number[]> {
    return Promise.resolve(steps.map(() => 1));
  }
}
