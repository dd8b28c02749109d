import type { SharedBatch } from './batch-layout.js';
import type { BatchStates } from './batch-states.js';
import type { InputShape, ModelChecksums, ModelDescription, StateTensors } from './model-description.js';

/**
 * The calls of the main thread to the worker. The worker answers them one at a time, in order, so that
 * batches never compete for the device.
 */
export interface WorkerCalls {
  /** The first call, made once: starts the backend of this name, or for `auto` the best that works. */
  start: (backend: string) => Promise<BackendReport>;
  /** Loads a model, and replaces one of the same name. */
  load: (name: string, path: string, inputShape?: InputShape, state?: StateTensors) => Promise<LoadReport>;
  unload: (name: string) => Promise<void>;
  /** Whether the files that the last load of the model read have changed since. */
  changed: (name: string) => Promise<boolean>;
  /**
   * Runs a batch; its results are in its memory when this resolves.
   *
   * @param states if the states of its streams stay in the worker; the memory is then laid out without them
   */
  predict: (name: string, batch: SharedBatch, states?: BatchStates) => Promise<WorkerSteps>;
  /** Drops states of streams. */
  drop: (name: string, states: readonly number[]) => Promise<void>;
  memory: () => Promise<BackendMemory>;
}

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

/**
 * An error as it is sent to the main thread. (A cloned `Error` would lose its code and, unless built in, its
 * name.)
 */
export interface Failure {
  /** The `code`, if it is a `BatchingError`. */
  code?: string;
  name: string;
  message: string;
  stack?: string;
}

/** The worker's `workerData`. */
export interface WorkerOptions {
  /** See `DeviceLock`. */
  deviceLock: SharedArrayBuffer;
}

/** The backend that runs, and its device. */
export interface BackendReport {
  backend: string;
  /** Description of the device, such as `GPU (TensorFlow 2.21.0)`. */
  device: string;
  /** Whether the device is a GPU. */
  gpu: boolean;
  /** Why each backend that `auto` prefers to this one did not start. */
  passedOver: string[];
}

/** The result of loading a model. */
export interface LoadReport {
  description: ModelDescription;
  checksums: ModelChecksums;
  /** Describes the first number that is not finite in the results of zeros; `undefined` if all are. */
  nonFinite: string | undefined;
}

/** The worker's steps of one batch. */
export interface WorkerSteps {
  /**
   * When the worker took the batch, in milliseconds since 1970; the other steps are durations in
   * milliseconds.
   */
  started: number;
  upload: number;
  run: number;
  read: number;
  /** Indices of the inputs whose state the worker does not have; their results are of no use. */
  lost: number[];
}

/** Memory that the backend uses for all models: between two predictions, for their weights only. */
export interface BackendMemory {
  tensors: number;
  bytes: number;
  /** On `webgpu`, bytes allocated on the GPU, including those kept for reuse. */
  gpuBytes?: number;
  /** States of streams that the workers keep, if models have such. */
  states?: number;
  /** Their size. */
  stateBytes?: number;
}
