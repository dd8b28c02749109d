import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConsoleLogger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { asBatchedService, createSession, type SessionStep } from 'nest-batching';
import {
  getOnnxModelToken,
  type ModelState,
  type ModelStep,
  type NamedModelInput,
  type OnnxModel,
  OnnxModule,
} from 'nest-batching/onnx';
import onnxProto from 'onnx-proto';
import type * as RecordingFile from '../apps/microphones/src/recording.js';
import type * as VoiceDetectorFile from '../apps/microphones/src/voice-detector.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import { median, printTable, ratio } from './table.js';

// The built ones: what runs the bench cannot compile decorators with their types.
const built = '../dist/microphones/apps/microphones/src';
const { FRAME_TIME, silence, VoiceDetector } = (await import(
  `${built}/voice-detector.js`
)) as typeof VoiceDetectorFile;
const { readRecording } = (await import(`${built}/recording.js`)) as typeof RecordingFile;

type VoiceState = VoiceDetectorFile.VoiceState;
type Heard = VoiceDetectorFile.Heard;

const { onnx } = onnxProto;
const { DataType } = onnx.TensorProto;

const contenders = {
  'one by one': { batchSize: 1, concurrency: 4, maxDelay: 0 },
  batched: { batchSize: 64, concurrency: 2, maxDelay: 4 },
};
type Contender = keyof typeof contenders;

interface Effort {
  readonly rounds: number;
  /** Milliseconds of one trial. */
  readonly trial: number;
  /** Halvings of the range in which the most microphones are looked for. */
  readonly halvings: number;
  /** Batches for each size of a state. */
  readonly batches: number;
  readonly takes: string;
}

const FULL: Effort = { rounds: 3, trial: 3000, halvings: 6, batches: 60, takes: 'three and a half minutes' };
const QUICK: Effort = { rounds: 1, trial: 500, halvings: 3, batches: 5, takes: 'fifteen seconds' };

/** What a crowd saw in one trial. */
interface Trial {
  readonly microphones: number;
  readonly late: number;
  /** Milliseconds from a frame to its answer. */
  readonly p50: number;
  readonly p99: number;
  readonly together: number;
}

const recording = readRecording();
const modelPath = join(import.meta.dirname, '../apps/microphones/models/silero-vad/voice.onnx');

/**
 * `npm run bench microphones [quick]`: how many microphones are heard in real time, with no frame late, one by one and in
 * batches; and what it is worth that the state of a stream stays in the worker.
 */
export async function benchMicrophones(quick = false): Promise<void> {
  const effort = quick ? QUICK : FULL;
  await benchRealTime(effort);
  await benchStates(effort);
}

async function benchRealTime({ rounds, trial, halvings, takes }: Effort): Promise<void> {
  console.log(
    `\nMicrophones: frames of ${FRAME_TIME} ms, Silero's voice detector on ONNX Runtime's CPU provider; the most of which no frame ` +
      `is late, by halving, ${trial} ms a trial, ${rounds} rounds; about ${takes} in all`,
  );
  const { app, model } = await open({ name: 'voice', path: modelPath });
  const seen = new Map<Contender, { sustained: Trial; capacity: number }[]>();
  try {
    await checkEqual(model);
    for (let round = 0; round < rounds; round++) {
      for (const contender of Object.keys(contenders) as Contender[]) {
        const hear = serviceOf(model, contender);
        const capacity = await measureCapacity(hear, trial / 2);
        const sustained = await mostInTime(hear, (1.05 * capacity * FRAME_TIME) / 1000, { trial, halvings });
        seen.set(contender, [...(seen.get(contender) ?? []), { sustained, capacity }]);
      }
    }
  } finally {
    await app.close();
  }
  const of = (contender: Contender, value: (one: { sustained: Trial; capacity: number }) => number) =>
    (seen.get(contender) ?? []).map(value);
  const middle = (contender: Contender, value: Parameters<typeof of>[1], digits = 0) =>
    median(of(contender, value)).toFixed(digits);
  console.log(`${model.workers} inference workers`);
  printTable([
    ['', 'microphones', 'p50 ms', 'p99 ms', 'share a step', 'frames/s at most', 'real-time factor'],
    ...(Object.keys(contenders) as Contender[]).map((contender) => [
      contender,
      middle(contender, ({ sustained }) => sustained.microphones),
      middle(contender, ({ sustained }) => sustained.p50, 1),
      middle(contender, ({ sustained }) => sustained.p99, 1),
      middle(contender, ({ sustained }) => sustained.together, 1),
      middle(contender, ({ capacity }) => capacity),
      // Seconds of work for a second of sound, of all workers together.
      middle(contender, ({ capacity }) => 1000 / FRAME_TIME / capacity, 5),
    ]),
    [
      'batched / one by one',
      ratio(
        of('batched', ({ sustained }) => sustained.microphones),
        of('one by one', ({ sustained }) => sustained.microphones),
      ),
      '',
      '',
      '',
      ratio(
        of('batched', ({ capacity }) => capacity),
        of('one by one', ({ capacity }) => capacity),
      ),
      '',
    ],
  ]);
}

type Hear = (
  step: SessionStep<Float32Array, VoiceState>,
  options?: object,
) => Promise<{ output: Heard; state: VoiceState }>;

/** The application's own batch method, in a queue of this kind. */
function serviceOf(model: OnnxModel, contender: Contender): Hear {
  const detector = new VoiceDetector(model);
  const { batchSize, maxDelay, concurrency } = contenders[contender];
  const options = { concurrency, maxQueued: Infinity };
  return asBatchedService(
    batchSize,
    maxDelay,
    options,
  )((steps: readonly SessionStep<Float32Array, VoiceState>[]) => detector.hear(steps));
}

/** Each of a crowd hears the same as alone, bit by bit. */
async function checkEqual(model: OnnxModel): Promise<void> {
  const of = async (contender: Contender) => {
    const hear = serviceOf(model, contender);
    return Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        await using session = sessionOf(hear);
        const frames = Array.from({ length: 20 }, (_, k) => frameAt(37 * i + k));
        const heard = await Promise.all(frames.map((frame) => session.push(frame)));
        return heard.map(({ speech }) => speech);
      }),
    );
  };
  assert.deepEqual(await of('batched'), await of('one by one'));
}

function sessionOf(hear: Hear) {
  return createSession<Float32Array, VoiceState, Heard>(hear, { initialState: silence });
}

function frameAt(index: number): Float32Array {
  const frame = recording[index % recording.length];
  assert(frame);
  return frame;
}

/** Frames per second with many microphones that never wait. */
async function measureCapacity(hear: Hear, milliseconds: number): Promise<number> {
  const end = performance.now() + milliseconds;
  const start = performance.now();
  let heard = 0;
  await Promise.all(
    Array.from({ length: 256 }, async (_, i) => {
      await using session = sessionOf(hear);
      for (let k = 37 * i; performance.now() < end; k++) {
        await session.push(frameAt(k));
        heard += 1;
      }
    }),
  );
  return (1000 * heard) / (performance.now() - start);
}

/** The largest crowd with no late frame. One that fails is tried twice: a busy moment of the machine is none of the crowd's. */
async function mostInTime(
  hear: Hear,
  upTo: number,
  { trial, halvings }: Pick<Effort, 'trial' | 'halvings'>,
): Promise<Trial> {
  let best: Trial = { microphones: 0, late: 0, p50: 0, p99: 0, together: 0 };
  let [least, most] = [0, upTo];
  for (let i = 0; i < halvings; i++) {
    const count = Math.round((least + most) / 2);
    let seen = await listen(hear, count, trial);
    if (seen.late > 0) seen = await listen(hear, count, trial);
    if (seen.late > 0) {
      most = count;
    } else {
      least = count;
      best = seen;
    }
  }
  return best;
}

/** Microphones that send a frame each 32 ms, whatever comes back, out of step with each other. */
async function listen(hear: Hear, count: number, milliseconds: number): Promise<Trial> {
  const start = performance.now() + 50;
  const microphones = Array.from({ length: count }, (_, i) => ({
    session: createSession<Float32Array, VoiceState, Heard>(hear, {
      initialState: silence,
      maxPending: Infinity,
    }),
    due: start + ((37 * i) % FRAME_TIME),
    frame: 37 * i,
  }));
  const [times, together]: [number[], number[]] = [[], []];
  const pushes: Promise<void>[] = [];
  for (let now = performance.now(); now < start + milliseconds; now = performance.now()) {
    for (const microphone of microphones) {
      for (; microphone.due <= now; microphone.due += FRAME_TIME) {
        const { due, session } = microphone;
        const push = session.push(frameAt(microphone.frame++)).then((heard) => {
          times.push(performance.now() - due);
          together.push(heard.together);
        });
        pushes.push(push);
      }
    }
    await sleep(1);
  }
  await Promise.all(pushes);
  await Promise.all(microphones.map(({ session }) => session.close()));
  const sorted = times.toSorted((one, other) => one - other);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? 0;
  return {
    microphones: count,
    late: times.filter((time) => time > FRAME_TIME).length,
    p50: at(0.5),
    p99: at(0.99),
    together: together.reduce((sum, size) => sum + size, 0) / Math.max(1, together.length),
  };
}

/** The networks whose states are compared: the inputs besides the state, and the streams of a batch. */
interface Network {
  readonly name: string;
  readonly path: string;
  readonly state: Record<string, string>;
  readonly input: NamedModelInput;
  readonly initial: NamedModelInput;
  readonly output: string;
  readonly streams: number;
  readonly bytes: number;
}

async function benchStates({ rounds, batches }: Effort): Promise<void> {
  console.log(
    '\nState that travels, and state that stays in the worker: milliseconds of a batch, best of each round',
  );
  const folder = mkdtempSync(join(tmpdir(), 'nest-batching-'));
  const rows: string[][] = [['', 'bytes', 'streams', 'travels', 'stays', 'travels / stays']];
  try {
    for (const network of networks(folder)) {
      const { app, model } = await open({
        name: network.name,
        path: network.path,
        state: network.state,
        workers: 1,
      });
      try {
        const [travels, stays]: [number[], number[]] = [[], []];
        for (let round = 0; round < rounds; round++) {
          const one = await travel(model, network, batches);
          const other = await stay(model, network, batches);
          assert.deepEqual(other.last, one.last);
          travels.push(one.time);
          stays.push(other.time);
        }
        const { name, bytes, streams } = network;
        const times = [travels, stays].map((times) => median(times).toFixed(2));
        rows.push([name, String(bytes), String(streams), ...times, ratio(travels, stays)]);
      } finally {
        await app.close();
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  printTable(rows);
}

async function travel(
  model: OnnxModel,
  { state, input, initial, output, streams }: Network,
  batches: number,
) {
  let states: NamedModelInput[] = Array.from({ length: streams }, () => initial);
  let last: unknown;
  let time = Infinity;
  for (let i = 0; i < batches; i++) {
    const start = performance.now();
    const results = await model.predict(states.map((state) => ({ ...input, ...state })));
    states = results.map((result) =>
      Object.fromEntries(Object.entries(state).map(([from, to]) => [from, result[to] ?? new Float32Array()])),
    );
    time = Math.min(time, performance.now() - start);
    last = results.map((result) => result[output]);
  }
  return { time, last };
}

async function stay(model: OnnxModel, { input, output, streams }: Network, batches: number) {
  let states: ModelState[] = Array.from({ length: streams }, () => model.openState());
  let last: unknown;
  let time = Infinity;
  for (let i = 0; i < batches; i++) {
    const start = performance.now();
    const steps: ModelStep[] = states.map((state) => ({ input, state }));
    const results = await model.step(steps);
    for (const state of states) state.dispose();
    states = results.map((result) => {
      if (result instanceof Error) throw result;
      return result.state;
    });
    time = Math.min(time, performance.now() - start);
    last = results.map((result) => (result instanceof Error ? undefined : result.output[output]));
  }
  for (const state of states) state.dispose();
  return { time, last };
}

function networks(folder: string): Network[] {
  const small = [1024, 65_536].map((units) => ({
    name: units === 1024 ? 'a recurrent layer' : 'a large state',
    path: writeRecurrent(folder, units),
    state: { h: 'nextH' },
    input: { x: new Float32Array(32).fill(0.5) },
    initial: { h: new Float32Array(units) },
    output: 'y',
    streams: units === 1024 ? 64 : 16,
    bytes: 4 * units,
  }));
  const { context, lstm } = silence();
  const voice = {
    name: "Silero's voice detector",
    path: modelPath,
    state: { lstm: 'nextLstm', context: 'nextContext' },
    input: { samples: frameAt(40) },
    initial: { context, lstm },
    output: 'speech',
    streams: 64,
    bytes: context.byteLength + lstm.byteLength,
  };
  return [voice, ...small];
}

/** `nextH = tanh(h + x · w)` and `y`, its first eight numbers. */
function writeRecurrent(folder: string, units: number): string {
  const random = randomNumbers(1);
  const weights = Float32Array.from({ length: 32 * units }, () => (random() - 0.5) / 16);
  const declared = (name: string, width: number) => ({
    name,
    type: {
      tensorType: { elemType: DataType.FLOAT, shape: { dim: [{ dimParam: 'n' }, { dimValue: width }] } },
    },
  });
  const integer = (name: string, value: number) => ({
    name,
    dims: [1],
    dataType: DataType.INT64,
    rawData: new Uint8Array(BigInt64Array.of(BigInt(value)).buffer),
  });
  const node = (opType: string, input: string[], output: string) => ({ opType, input, output: [output] });
  const graph = {
    name: 'recurrent',
    input: [declared('x', 32), declared('h', units)],
    output: [declared('y', 8), declared('nextH', units)],
    initializer: [
      { name: 'w', dims: [32, units], dataType: DataType.FLOAT, rawData: new Uint8Array(weights.buffer) },
      integer('start', 0),
      integer('end', 8),
      integer('axis', 1),
    ],
    node: [
      node('MatMul', ['x', 'w'], 'xw'),
      node('Add', ['h', 'xw'], 'sum'),
      node('Tanh', ['sum'], 'nextH'),
      node('Slice', ['nextH', 'start', 'end', 'axis'], 'y'),
    ],
  };
  const path = join(folder, `recurrent-${units}.onnx`);
  const model = onnx.ModelProto.create({ irVersion: 8, opsetImport: [{ domain: '', version: 13 }], graph });
  writeFileSync(path, onnx.ModelProto.encode(model).finish());
  return path;
}

async function open({
  name,
  path,
  state,
  workers = 'auto',
}: {
  name: string;
  path: string;
  state?: Record<string, string>;
  workers?: number | 'auto';
}) {
  const app = await Test.createTestingModule({
    imports: [
      OnnxModule.forRoot({ executionProvider: 'cpu', workers }),
      OnnxModule.forFeature([{ name, path, state }]),
    ],
  })
    .setLogger(new ConsoleLogger({ logLevels: ['warn', 'error', 'fatal'] }))
    .compile();
  return { app, model: app.get<OnnxModel>(getOnnxModelToken(name), { strict: false }) };
}
