import { Worker } from 'node:worker_threads';
import { DeviceLock } from './device-lock.js';
import { InferenceWorkerError, ModelFileError, TfjsBackendError, UnsupportedModelError } from './errors.js';
import type { Answer, Call, Failure, WorkerCalls } from './inference-worker.js';

type Result<Name extends keyof WorkerCalls> = Awaited<ReturnType<WorkerCalls[Name]>>;

interface Caller {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

/**
 * One life of the inference worker, seen from the main thread. Calls are answered in their order. It keeps the process
 * alive only while a call is under way.
 */
export class InferenceThread {
  readonly #deviceLock = new DeviceLock();
  // The application's own flags (loaders, `--input-type`, preloaded instrumentation) are none of the worker's business.
  readonly #worker = new Worker(new URL('./inference-worker.js', import.meta.url), {
    execArgv: [],
    workerData: { deviceLock: this.#deviceLock.memory },
  });
  readonly #callers = new Map<number, Caller>();
  #calls = 0;
  #dead: InferenceWorkerError | undefined;

  /** Resolves with the reason once the thread has ended, before the calls under way reject with it. */
  readonly ended: Promise<InferenceWorkerError>;

  constructor() {
    let cause: Error | undefined;
    this.#worker.on('message', (answer: Answer) => {
      this.#settle(answer);
    });
    this.#worker.on('error', (error) => (cause = error));
    // An answer that cannot be read is an answer that somebody would wait for in vain.
    this.#worker.on('messageerror', (error) => {
      cause = error;
      void this.end();
    });
    process.on('exit', this.#atExit);
    this.ended = new Promise((resolve) => {
      this.#worker.once('exit', (exitCode) => {
        process.removeListener('exit', this.#atExit);
        const why = cause ? `${cause.name}: ${cause.message}` : `exit code ${exitCode}`;
        this.#dead = new InferenceWorkerError(`the inference worker died (${why})`, { cause });
        resolve(this.#dead);
        for (const { reject } of this.#callers.values()) reject(this.#dead);
        this.#callers.clear();
      });
    });
  }

  /** Rejects with what the worker threw, or with `InferenceWorkerError` when it dies first. */
  async call<Name extends keyof WorkerCalls>(
    name: Name,
    args: Parameters<WorkerCalls[Name]>,
  ): Promise<Result<Name>> {
    if (this.#dead) throw this.#dead;
    const id = (this.#calls += 1);
    this.#worker.postMessage({ id, name, args } satisfies Call<Name>);
    if (this.#callers.size === 0) this.#worker.ref();
    return new Promise<Result<Name>>((resolve, reject) => {
      this.#callers.set(id, { resolve: resolve as Caller['resolve'], reject });
    });
  }

  #settle({ id, value, failure }: Answer): void {
    const caller = this.#callers.get(id);
    this.#callers.delete(id);
    if (this.#callers.size === 0) this.#worker.unref();
    if (failure) caller?.reject(errorOf(failure));
    else caller?.resolve(value);
  }

  /** Ends the thread; a call under way rejects with `InferenceWorkerError`. */
  async end(): Promise<void> {
    await this.#deviceLock.end();
    await this.#worker.terminate();
  }

  readonly #atExit = (): void => {
    this.#deviceLock.endSync();
  };
}

const errorsByCode = {
  ERR_BATCHING_BACKEND: TfjsBackendError,
  ERR_BATCHING_MODEL_FILE: ModelFileError,
  ERR_BATCHING_MODEL: UnsupportedModelError,
};

/** The error as the worker threw it, with the worker's stack. */
function errorOf({ code, name, message, stack }: Failure): Error {
  const error =
    code && code in errorsByCode
      ? new errorsByCode[code as keyof typeof errorsByCode](message)
      : new Error(message);
  return Object.assign(error, { name, stack });
}
