import type * as Tfjs from '@tensorflow/tfjs';
import type { TensorValues } from '../../inference/protocol/batch-layout.js';
import type { BackendMemory } from '../../inference/protocol/messages.js';
import type { TensorDescription } from '../../inference/protocol/model-description.js';
import type { ModelFiles } from '../../inference/worker/model-files.js';
import type { Runtime } from '../../inference/worker/runtime.js';
import type { BackendReport, StartedBackend } from '../backend.js';
import { loadNetwork, type TfjsNetwork } from './load-network.js';

/** TensorFlow.js on the backend of this thread. */
export class TfjsRuntime implements Runtime<Tfjs.Tensor> {
  readonly #tf: typeof Tfjs;
  readonly report: BackendReport;
  readonly checked: StartedBackend['checked'];

  constructor({ tf, report, checked }: StartedBackend & { report: BackendReport }) {
    this.#tf = tf;
    this.report = report;
    this.checked = checked;
  }

  /** Unlike `tf.tidy`, a scope may stay open across an await, as long as batches run one at a time. */
  async inScope<T>(work: () => Promise<T>): Promise<T> {
    this.#tf.engine().startScope();
    try {
      return await work();
    } finally {
      this.#tf.engine().endScope();
    }
  }

  tensor(values: TensorValues, shape: readonly number[], dtype: TensorDescription['dtype']): Tfjs.Tensor {
    return this.#tf.tensor(values, [...shape], dtype);
  }

  load(path: string, files: ModelFiles, attempt: number): Promise<TfjsNetwork> {
    return loadNetwork(this.#tf, path, files, attempt);
  }

  /** An aborted WebAssembly, for example, throws or returns a wrong sum. */
  async verify(): Promise<void> {
    const three = this.#tf.add(1, 2);
    const [value] = await this.checked(() => three.data());
    three.dispose();
    if (value !== 3) throw new Error(`the backend adds 1 and 2 to ${String(value)}`);
  }

  memory(): BackendMemory {
    const memory: Tfjs.MemoryInfo & { numBytesAllocatedInGPU?: number } = this.#tf.memory();
    const { numTensors: tensors, numBytes: bytes, numBytesAllocatedInGPU: gpuBytes } = memory;
    return { tensors, bytes, gpuBytes };
  }
}
