import type { TensorValues } from '../protocol/batch-layout.js';
import type { BackendMemory, BackendReport } from '../protocol/messages.js';
import type { TensorDescription } from '../protocol/model-description.js';
import type { ModelFiles } from './model-files.js';

/** A tensor of a runtime, which may be on its device and not computed yet. */
export interface RuntimeTensor {
  readonly shape: readonly number[];
  readonly dtype: string;
  /** Reads its numbers, when they are computed. */
  data(): Promise<TensorValues>;
}

/** A model runtime (TensorFlow.js, ONNX Runtime) with one backend, in this thread. */
export interface Runtime<Tensor extends RuntimeTensor> {
  readonly report: BackendReport;
  /**
   * Runs work on the device, one at a time, and also rejects with errors of the device that the runtime does
   * not report. Everything that awaits the device goes through this, loading included.
   */
  checked<T>(work: () => Promise<T>): Promise<T>;
  /** Runs `work`, and disposes of all tensors created in it, even if it fails. */
  inScope<T>(work: () => Promise<T>): Promise<T>;
  tensor(values: TensorValues, shape: readonly number[], dtype: TensorDescription['dtype']): Tensor;
  /**
   * Loads the model at `path`.
   *
   * @param files records the files that are read
   * @param attempt number of earlier loads of this model in this thread
   * @throws {ModelFileError}, or what the runtime throws
   */
  load(path: string, files: ModelFiles, attempt: number): Promise<Network<Tensor>>;
  /** Rejects if the backend computes wrong results: after some failures it never works again. */
  verify(): Promise<void>;
  memory(): BackendMemory;
}

/** A loaded model of any kind: takes tensors in the order of `inputs`, and returns tensors by name. */
export interface Network<Tensor extends RuntimeTensor> {
  /** Kind of the model in messages and signatures, such as `layers model`. */
  readonly kind: string;
  readonly inputs: readonly DeclaredTensor[];
  run(inputs: Tensor[]): Promise<Readonly<Record<string, Tensor>>>;
  dispose(): void;
}

/** A tensor as the model's files describe it, with the batch dimension; open dimensions are null or -1. */
export interface DeclaredTensor {
  name: string;
  shape?: readonly (number | null)[];
  dtype?: string;
}
