import type { BackendReport } from '../protocol/messages.js';

/** A model runtime (TensorFlow.js, ONNX Runtime) as the main thread sees it: all that differs there from one to the next. */
export interface InferenceRuntime {
  /** Name of its Nest module, for messages and the log. */
  readonly module: string;
  /** For a module that is imported in a way that cannot work. */
  readonly ModuleError: new (message: string) => Error;
  /** By their `code`, the errors that only this runtime's worker throws. */
  readonly workerErrors: Readonly<Record<string, new (message: string) => Error>>;
  /** The file of its worker, which calls `runWorker`. Throws `ModuleError` where a bundler has left it behind. */
  workerFile(): URL;
  /** Whether batches are padded to powers of two, unless sizes are configured: where it prepares something for each shape. */
  pads(report: BackendReport): boolean;
}
