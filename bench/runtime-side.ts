import type { DynamicModule, INestApplicationContext } from '@nestjs/common';
import type { Runtime, RuntimeTensor } from '../libs/batching/src/inference/worker/runtime.js';

/** A network, and the load that it gets. */
export interface Subject {
  name: string;
  path: string;
  shape: number[];
  batchSize: number;
  overHttp: boolean;
  /** For dimensions that the model leaves open. */
  inputShape?: number[];
  /** For the batches that a GPU is made for. */
  onGpuOnly?: boolean;
}

/** Raw loops of full batches, one in a thread for each inference worker: the limit. */
export interface Loops {
  /** Runs so many batches in each at the same time. @returns the milliseconds that each took */
  run: (batches: number, size: number) => Promise<number[]>;
  end: () => Promise<void>;
}

interface ModelOptions {
  name: string;
  path: string;
  inputShape?: number[] | undefined;
  batchSizes?: number[] | undefined;
}

/** What differs between TensorFlow.js and ONNX Runtime in `inference-backend.ts`. */
export interface RuntimeSide {
  BackendError: abstract new (...args: never[]) => Error;
  /** Files of the networks; those that are missing are left out. `mlp` writes its file into a folder. */
  paths: { digits: string; mlp: (folder: string) => string; esrgan?: string };
  root: (workers: number | 'auto') => DynamicModule;
  feature: (models: ModelOptions[]) => DynamicModule;
  tokenOf: (name: string) => string;
  /** Models that `loops` needs in the application. */
  loopModels?: (subject: Subject, folder: string) => ModelOptions[];
  loops: (app: INestApplicationContext, subject: Subject) => Promise<Loops>;
  /** The same backend in this thread. */
  onMainThread: () => Promise<Runtime<RuntimeTensor>>;
}

/** A file of the built library that is no entry point. */
export function built(file: string): string {
  return new URL(`../dist/libs/batching/${file}`, import.meta.url).href;
}
