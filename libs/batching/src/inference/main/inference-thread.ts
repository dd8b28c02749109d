import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { DeviceLock } from '../protocol/device-lock.js';
import {
  InferenceWorkerError,
  ModelFileError,
  TfjsBackendError,
  TfjsModuleError,
  UnsupportedModelError,
} from '../errors.js';
import type { Heartbeat } from './heartbeat.js';
import type { Answer, Call, Failure, WorkerCalls } from '../worker/run-loop.js';

type Result<Name extends keyof WorkerCalls> = Awaited<ReturnType<WorkerCalls[Name]>>;

interface Caller {
  /** What the worker has to answer in time, in words. */
  subject: string | undefined;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

/** Longest that the end of the thread is waited for, in milliseconds; JavaScript and WebAssembly end within a few. */
const endPatience = 1000;

/**
 * One life of the inference worker, seen from the main thread. Calls are answered in their order. It keeps the process
 * alive only while a call is under way. A worker that is silent beyond the limit of its heartbeat is ended.
 */
export class InferenceThread {
  readonly #deviceLock = new DeviceLock();
  // The application's own flags (loaders, `--input-type`, preloaded instrumentation) are none of the worker's business.
  readonly #worker = new Worker(workerFile(), {
    execArgv: [],
    workerData: { deviceLock: this.#deviceLock.memory },
  });
  /** The calls under way; the worker has the first at hand. */
  readonly #callers = new Map<number, Caller>();
  readonly #heartbeat: Heartbeat;
  #calls = 0;
  /** Why it takes no more calls. */
  #dead: InferenceWorkerError | undefined;
  /** What it was silent about, and for how long, in words; the reason of its end. */
  #silence: string | undefined;
  #ending: Promise<void> | undefined;
  #reportStuck!: (reason: InferenceWorkerError) => void;

  /** Resolves with the reason once the thread has ended, before the calls under way reject with it. */
  readonly ended: Promise<InferenceWorkerError>;
  /**
   * Resolves with the reason when the thread cannot be ended, before the calls under way reject with it. `ended` may still
   * follow.
   */
  readonly stuck: Promise<InferenceWorkerError>;

  constructor(heartbeat: Heartbeat) {
    this.#heartbeat = heartbeat;
    let cause: Error | undefined;
    this.#worker.on('message', (answer: Answer) => {
      this.#settle(answer);
    });
    this.#worker.on('error', (error) => (cause = error));
    // An undecodable answer would leave its caller waiting, so the worker is ended.
    this.#worker.on('messageerror', (error) => {
      cause = error;
      void this.end();
    });
    process.on('exit', this.#atExit);
    this.stuck = new Promise((resolve) => (this.#reportStuck = resolve));
    this.ended = new Promise((resolve) => {
      this.#worker.once('exit', (exitCode) => {
        process.removeListener('exit', this.#atExit);
        process.removeListener('exit', killProcess);
        const why = cause ? `${cause.name}: ${cause.message}` : `exit code ${exitCode}`;
        const message = this.#silence
          ? `the inference worker ${this.#silence} and was ended`
          : `the inference worker died (${why})`;
        const reason = new InferenceWorkerError(message, { cause });
        resolve(reason);
        // Else it was given up before, and another thread may use the heartbeat by now.
        if (!this.#dead) this.#fail(reason);
      });
    });
  }

  /**
   * Rejects with what the worker threw, or with `InferenceWorkerError` when it dies first.
   *
   * @param subject what is asked for, in words: its answer has to come in the heartbeat's limit. Without it, it may take
   *   any time.
   */
  async call<Name extends keyof WorkerCalls>(
    name: Name,
    args: Parameters<WorkerCalls[Name]>,
    subject?: string,
  ): Promise<Result<Name>> {
    if (this.#dead) throw this.#dead;
    const id = (this.#calls += 1);
    this.#worker.postMessage({ id, name, args } satisfies Call<Name>);
    return new Promise<Result<Name>>((resolve, reject) => {
      this.#callers.set(id, { subject, resolve: resolve as Caller['resolve'], reject });
      if (this.#callers.size > 1) return;
      this.#worker.ref();
      this.#listen();
    });
  }

  #settle({ id, value, failure }: Answer): void {
    const caller = this.#callers.get(id);
    // An answer may still come after the calls were given up.
    if (!caller) return;
    this.#callers.delete(id);
    if (caller.subject !== undefined) this.#heartbeat.beat();
    if (this.#callers.size === 0) this.#worker.unref();
    this.#listen();
    if (failure) caller.reject(errorOf(failure));
    else caller.resolve(value);
  }

  /** Measures the silence about the call at hand. */
  #listen(): void {
    if (this.#current?.subject === undefined) this.#heartbeat.stop();
    else this.#heartbeat.start(this.#onSilence);
  }

  get #current(): Caller | undefined {
    return this.#callers.values().next().value;
  }

  readonly #onSilence = (silence: number): void => {
    this.#heartbeat.stop();
    this.#silence = `gave no answer to ${this.#current?.subject ?? 'a call'} for ${Math.round(silence)} ms`;
    void this.end();
  };

  /**
   * Ends the thread; a call under way rejects with `InferenceWorkerError`. Resolves also when the thread cannot be ended: it
   * runs native code that does not return.
   */
  end(): Promise<void> {
    return (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    await this.#deviceLock.end();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, endPatience, 'late');
    });
    const first = await Promise.race([this.#worker.terminate(), late]);
    clearTimeout(timer);
    if (first === 'late') this.#giveUp();
  }

  /** Node ends a thread between two steps of JavaScript, and waits for it, also at the end of the process. */
  #giveUp(): void {
    const what = this.#silence ?? 'was to end';
    const reason = new InferenceWorkerError(
      `the inference worker ${what} and cannot be ended: it is stuck in native code; restart the process`,
    );
    process.on('exit', killProcess);
    this.#reportStuck(reason);
    this.#fail(reason);
    this.#worker.unref();
  }

  #fail(reason: InferenceWorkerError): void {
    this.#dead = reason;
    this.#heartbeat.stop();
    for (const { reject } of this.#callers.values()) reject(reason);
    this.#callers.clear();
  }

  readonly #atExit = (): void => {
    this.#deviceLock.endSync();
  };
}

/** A process that exits waits for its threads, which would be for ever. */
function killProcess(): void {
  process.kill(process.pid, 'SIGKILL');
}

/** The code of the worker. Throws `TfjsModuleError` where a bundler has left it behind. */
function workerFile(): URL {
  const name = '../worker/run-loop.js';
  // A bundle of CommonJS modules may have no `import.meta.url`, whatever its type says.
  const file = URL.canParse(name, import.meta.url) ? new URL(name, import.meta.url) : undefined;
  if (file && existsSync(file)) return file;
  throw new TfjsModuleError(
    `the inference worker has no file${file ? ` (${file.href})` : ''}: a bundler takes along what is imported, and ` +
      'a worker is not; keep nest-batching external (webpack: externals, esbuild: --external:nest-batching)',
  );
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
