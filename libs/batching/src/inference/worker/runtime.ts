import type { TensorValues } from '../protocol/batch-layout.js';
import type { BackendMemory, BackendReport } from '../protocol/messages.js';
import type { TensorDescription } from '../protocol/model-description.js';
import type { ModelFiles } from './model-files.js';

/** A tensor of a runtime, perhaps on its device and not computed yet. */
export interface RuntimeTensor {
  readonly shape: readonly number[];
  readonly dtype: string;
  /** Reads it back, once it is computed. */
  data(): Promise<TensorValues>;
}

/** A model runtime (TensorFlow.js, ONNX Runtime) with one backend, in this thread. */
export interface Runtime<Tensor extends RuntimeTensor> {
  readonly report: BackendReport;
  /**
   * Runs work on the device, one at a time, and rejects with the device's own error where the runtime does not notice it.
   * All that awaits the device goes through this, loading included.
   */
  checked<T>(work: () => Promise<T>): Promise<T>;
  /** Disposes of every tensor made in `work`, on every path. */
  inScope<T>(work: () => Promise<T>): Promise<T>;
  tensor(values: TensorValues, shape: readonly number[], dtype: TensorDescription['dtype']): Tensor;
  /**
   * Loads the model at `path`. Throws `ModelFileError`, or what the runtime throws.
   *
   * @param files records all files that are read
   * @param attempt how many loads of this model there were in this thread before
   */
  load(path: string, files: ModelFiles, attempt: number): Promise<Network<Tensor>>;
  /** Rejects if the backend computes wrong results: a failure can leave one that fails for ever. */
  verify(): Promise<void>;
  memory(): BackendMemory;
}

/** A loaded model of any kind, in one form: tensors in the order of `inputs` in, tensors by name out. */
export interface Network<Tensor extends RuntimeTensor> {
  /** `layers model`; in messages and signatures. */
  readonly kind: string;
  readonly inputs: readonly DeclaredTensor[];
  run(inputs: Tensor[]): Promise<Readonly<Record<string, Tensor>>>;
  dispose(): void;
}

/** A tensor as the model's own files describe it, with its batch dimension; open dimensions are null or -1. */
export interface DeclaredTensor {
  name: string;
  shape?: readonly (number | null)[];
  dtype?: string;
}
