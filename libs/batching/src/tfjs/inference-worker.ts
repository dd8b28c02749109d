import { on } from 'node:events';
import { parentPort } from 'node:worker_threads';
import type * as Tfjs from '@tensorflow/tfjs';
import { type BackendReport, startBackend, type StartedBackend, type TfjsBackend } from './backend.js';
import { BatchingError } from '../core/errors.js';
import { type BatchValues, LoadedModel, type ModelDescription } from './loaded-model.js';

/**
 * The inference worker: the one thread that owns a backend and the models on it. It answers the calls of
 * `InferenceThread` one after the other, in the order they came, so that batches never fight for the device.
 */

/** What lives in the backend's memory, over all models: weights, and between two predictions nothing else. */
export interface InferenceMemory {
  tensors: number;
  bytes: number;
}

const models = new Map<string, LoadedModel>();
let tf: typeof Tfjs;
let checked: StartedBackend['checked'];

const calls = {
  /** The first call, once. */
  start: async (backend: TfjsBackend | 'auto'): Promise<BackendReport> => {
    const started = await startBackend(backend);
    ({ tf, checked } = started);
    return started.report;
  },

  load: async (name: string, path: string): Promise<ModelDescription> => {
    models.get(name)?.dispose();
    const model = await checked(() => LoadedModel.load(tf, path));
    models.set(name, model);
    return model.description;
  },

  predict: async (name: string, batch: BatchValues, size: number): Promise<Float32Array<ArrayBuffer>> => {
    const model = models.get(name);
    if (!model) throw new Error('it is not loaded');
    return checked(() => model.run(batch, size));
  },

  memory: (): Promise<InferenceMemory> => {
    const { numTensors: tensors, numBytes: bytes } = tf.memory();
    return Promise.resolve({ tensors, bytes });
  },
};

export type WorkerCalls = typeof calls;

export interface Call<Name extends keyof WorkerCalls = keyof WorkerCalls> {
  id: number;
  name: Name;
  args: Parameters<WorkerCalls[Name]>;
}

export interface Answer {
  id: number;
  value?: unknown;
  failure?: Failure;
}

/** An error on its way to the main thread. (A cloned `Error` would lose its code and, if uncommon, its name.) */
export interface Failure {
  /** The `code`, of a `BatchingError`. */
  code?: string;
  name: string;
  message: string;
  stack?: string;
}

if (!parentPort) throw new Error('inference-worker.js runs in a worker thread only');
for await (const [call] of on(parentPort, 'message') as AsyncIterable<[Call]>) {
  const answer = await answerTo(call);
  parentPort.postMessage(
    answer,
    answer.value instanceof Float32Array ? [answer.value.buffer as ArrayBuffer] : [],
  );
}

async function answerTo({ id, name, args }: Call): Promise<Answer> {
  try {
    const call = calls[name] as (...args: unknown[]) => Promise<unknown>;
    return { id, value: await call(...args) };
  } catch (error) {
    return { id, failure: failureOf(error) };
  }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message, stack } = error;
  return { code: error instanceof BatchingError ? error.code : undefined, name, message, stack };
}
