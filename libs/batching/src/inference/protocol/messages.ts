import type { SharedBatch } from './batch-layout.js';
import type { InputShape, ModelChecksums, ModelDescription } from './model-description.js';

/**
 * What the main thread calls in the worker. The worker answers one call after the other, in the order in which they came, so
 * that batches never compete for the device.
 */
export interface WorkerCalls {
  /** The first call, once: starts the backend of this name, or under `auto` the best that works. */
  start: (backend: string) => Promise<BackendReport>;
  /** Loads a model, in the place of one with the same name. */
  load: (name: string, path: string, inputShape?: InputShape) => Promise<LoadReport>;
  unload: (name: string) => Promise<void>;
  /** Whether another load of the model would read other files than the last. */
  changed: (name: string) => Promise<boolean>;
  /** Runs a batch; its results are in its memory when this resolves. */
  predict: (name: string, batch: SharedBatch) => Promise<WorkerSteps>;
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

/** An error on its way to the main thread. (A cloned `Error` would lose its code and, if uncommon, its name.) */
export interface Failure {
  /** The `code`, of a `BatchingError`. */
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

/** The backend that was started, and where it runs. */
export interface BackendReport {
  backend: string;
  /** What does the arithmetic, such as `GPU (TensorFlow 2.21.0)`. */
  device: string;
  /** Whether that is a GPU. */
  gpu: boolean;
  /** Why each backend that `auto` prefers to this one did not start. */
  passedOver: string[];
}

/** A model that was loaded, and what its load has shown. */
export interface LoadReport {
  description: ModelDescription;
  checksums: ModelChecksums;
  /** The first number in the results of zeros that is not finite, in words. */
  nonFinite: string | undefined;
}

/** When the worker took a batch, in milliseconds since 1970, and how long each step then took, in milliseconds. */
export interface WorkerSteps {
  started: number;
  upload: number;
  run: number;
  read: number;
}

/** What lives in the backend's memory, over all models: weights, and between two predictions nothing else. */
export interface BackendMemory {
  tensors: number;
  bytes: number;
  /** On `webgpu`, what it has allocated on the GPU: in use, and kept to be used again. */
  gpuBytes?: number;
}
