import type { BackendReport } from '../protocol/messages.js';

/** The main thread's part of a model runtime (TensorFlow.js, ONNX Runtime): what differs between runtimes. */
export interface InferenceRuntime {
  /** Name of its Nest module, for messages and the log. */
  readonly module: string;
  /** The class of errors for a module that is imported in a way that cannot work. */
  readonly ModuleError: new (message: string) => Error;
  /** Classes of the errors that only this runtime's worker throws, by `code`. */
  readonly workerErrors: Readonly<Record<string, new (message: string) => Error>>;
  /**
   * The file of its worker, which calls `runWorker`. Throws `ModuleError` if it is missing, as in a bundle.
   */
  workerFile(): URL;
  /**
   * Whether to pad batches to powers of two if no sizes are configured: for devices that prepare work for
   * each shape.
   */
  pads(report: BackendReport): boolean;
  /**
   * Whether a worker computes on one core, so that a worker on each core is faster. Default: it does not, as
   * it uses a GPU or threads of its own, and `workers: 'auto'` is one.
   */
  usesOneCore?(report: BackendReport): boolean;
}
