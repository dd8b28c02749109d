import { on } from 'node:events';
import { inspect } from 'node:util';
import { parentPort } from 'node:worker_threads';
import type * as Tfjs from '@tensorflow/tfjs';
import {
  type BackendReport,
  startBackend,
  type StartedBackend,
  type TfjsBackend,
} from '../../tfjs/backend.js';
import type { SharedBatch } from '../protocol/batch-layout.js';
import { BatchingError } from '../../core/errors.js';
import { UnsupportedModelError } from '../errors.js';
import { LoadedModel, type WorkerSteps } from './loaded-model.js';
import { type ModelChecksums, ModelFiles } from '../../tfjs/worker/read-model-files.js';
import type { InputShape, ModelDescription } from '../../tfjs/worker/load-network.js';

/**
 * The inference worker: the one thread that owns a backend and the models on it. It answers the calls of
 * `InferenceThread` one after the other, in the order they came, so that batches never fight for the device.
 */

/** What lives in the backend's memory, over all models: weights, and between two predictions nothing else. */
export interface BackendMemory {
  tensors: number;
  bytes: number;
  /** On `webgpu`, what it has allocated on the GPU: in use, and kept to be used again. */
  gpuBytes?: number;
}

/** A model that was loaded, and what its load has shown. */
export interface LoadReport {
  description: ModelDescription;
  checksums: ModelChecksums;
  /** What of the results of zeros is no finite number, in words. */
  nonFinite: string | undefined;
}

/** By the model's name. */
const models = new Map<string, LoadedModel>();
/** What the last load of each model has read, also if it failed, and how many there were. */
const loads = new Map<string, { files: ModelFiles; attempts: number }>();
let tf: typeof Tfjs;
let checked: StartedBackend['checked'];

const calls = {
  /** The first call, once. */
  start: async (backend: TfjsBackend | 'auto'): Promise<BackendReport> => {
    const started = await startBackend(backend);
    ({ tf, checked } = started);
    return started.report;
  },

  load: async (name: string, path: string, inputShape?: InputShape): Promise<LoadReport> => {
    await calls.unload(name);
    const files = new ModelFiles(path);
    const attempt = loads.get(name)?.attempts ?? 0;
    loads.set(name, { files, attempts: attempt + 1 });
    const model = await LoadedModel.load({ tf, checked }, { path, inputShape, files, attempt });
    models.set(name, model);
    return { description: model.description, checksums: files.checksums, nonFinite: model.nonFinite };
  },

  unload: (name: string): Promise<void> => {
    models.get(name)?.dispose();
    models.delete(name);
    return Promise.resolve();
  },

  /** Whether another load of the model would read other files than the last. */
  changed: (name: string): Promise<boolean> => loads.get(name)?.files.changed() ?? Promise.resolve(true),

  predict: async (name: string, batch: SharedBatch): Promise<WorkerSteps> => {
    const model = models.get(name);
    if (!model) throw new UnsupportedModelError('the worker has not loaded it');
    try {
      return await checked(() => model.run(batch));
    } catch (error) {
      broken = await whatIsBroken();
      throw error;
    }
  },

  memory: (): Promise<BackendMemory> => {
    const memory: Tfjs.MemoryInfo & { numBytesAllocatedInGPU?: number } = tf.memory();
    const { numTensors: tensors, numBytes: bytes, numBytesAllocatedInGPU: gpuBytes } = memory;
    return Promise.resolve({ tensors, bytes, gpuBytes });
  },
};

/** Why the backend is of no use any more; the error that this worker ends of. */
let broken: Error | undefined;

/**
 * A failure can leave a backend that fails for ever, such as a WebAssembly that was aborted. Then this worker ends, and a new
 * one takes its place.
 */
async function whatIsBroken(): Promise<Error | undefined> {
  try {
    const three = tf.add(1, 2);
    const [value] = await checked(() => three.data());
    three.dispose();
    return value === 3 ? undefined : new Error(`the backend adds 1 and 2 to ${String(value)}`);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

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

if (!parentPort) throw new Error('run-loop.js runs in a worker thread only');
for await (const [call] of on(parentPort, 'message') as AsyncIterable<[Call]>) {
  parentPort.postMessage(await answerTo(call));
  if (broken) throw broken;
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
  if (!(error instanceof Error)) return { name: 'Error', message: inspect(error) };
  const { name, message, stack } = error;
  return { code: error instanceof BatchingError ? error.code : undefined, name, message, stack };
}
