import type * as Ort from 'onnxruntime-node';
import type { TensorValues } from '../../inference/protocol/batch-layout.js';
import type { BackendMemory, BackendReport } from '../../inference/protocol/messages.js';
import type { TensorDescription } from '../../inference/protocol/model-description.js';
import type { ModelFiles } from '../../inference/worker/model-files.js';
import type { Runtime } from '../../inference/worker/runtime.js';
import { loadNetwork, type OnnxNetwork, OnnxTensor } from './load-network.js';
import { addOnce, uninterrupted, type StartedProvider } from './start-provider.js';

/** ONNX Runtime on one execution provider, in this thread. */
export class OnnxRuntime implements Runtime<OnnxTensor> {
  readonly #ort: typeof Ort;
  readonly #options: Ort.InferenceSession.SessionOptions;
  readonly #networks = new Set<OnnxNetwork>();
  readonly report: BackendReport;

  constructor({ ort, options, report }: StartedProvider) {
    this.#ort = ort;
    this.#options = options;
    this.report = report;
  }

  /** ONNX Runtime reports its errors itself. */
  checked<T>(work: () => Promise<T>): Promise<T> {
    return uninterrupted(work);
  }

  /** Tensors are in JavaScript's memory, which is collected. */
  inScope<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }

  tensor(values: TensorValues, shape: readonly number[], dtype: TensorDescription['dtype']): OnnxTensor {
    return new OnnxTensor(shape, dtype, () => values);
  }

  async load(path: string, files: ModelFiles): Promise<OnnxNetwork> {
    const loaded = await loadNetwork(this.#ort, path, files, this.#options);
    const network: OnnxNetwork = {
      ...loaded,
      dispose: () => {
        this.#networks.delete(network);
        loaded.dispose();
      },
    };
    this.#networks.add(network);
    return network;
  }

  verify(): Promise<void> {
    return this.checked(() => addOnce(this.#ort, this.#options));
  }

  /** ONNX Runtime does not report its memory: these are the sizes of the models' files. */
  memory(): BackendMemory {
    return { tensors: 0, bytes: [...this.#networks].reduce((sum, { bytes }) => sum + bytes, 0) };
  }
}
