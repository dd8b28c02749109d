import { Worker } from 'node:worker_threads';
import { InferenceWorkerError, ModelFileError, UnsupportedModelError } from '../errors.js';
import { DeviceLock } from '../protocol/device-lock.js';
import type {
  Answer,
  BackendReport,
  Call,
  Failure,
  WorkerCalls,
  WorkerOptions,
} from '../protocol/messages.js';
import type { Heartbeat } from './heartbeat.js';
import type { InferenceRuntime } from './inference-runtime.js';

type Result<Name extends keyof WorkerCalls> = Awaited<ReturnType<WorkerCalls[Name]>>;

interface Caller {
  /** What the worker must answer within the heartbeat's limit, in words; `undefined` where it may take any time. */
  subject: string | undefined;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

/** How long to wait for the thread's end, in milliseconds; JavaScript and WebAssembly end within a few. */
const endPatience = 1000;

/**
 * One thread of the inference worker, from its start to its end. It answers calls in their order, and keeps the process alive
 * only while a call is under way. A thread that is silent beyond the limit of its heartbeat is ended.
 */
export class InferenceThread {
  readonly #deviceLock = new DeviceLock();
  readonly #runtime: InferenceRuntime;
  readonly #worker: Worker;
  /** The calls under way; the worker works on the first. */
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

  /** The backend that runs in it, once `start` has resolved. */
  report!: BackendReport;

  constructor(runtime: InferenceRuntime, heartbeat: Heartbeat) {
    this.#runtime = runtime;
    this.#heartbeat = heartbeat;
    this.#worker = new Worker(runtime.workerFile(), {
      // The application's own flags (loaders, `--input-type`, preloaded instrumentation) do not apply to the worker.
      execArgv: [],
      workerData: { deviceLock: this.#deviceLock.memory } satisfies WorkerOptions,
    });
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
        // If it was given up before, another thread may use the heartbeat by now.
        if (!this.#dead) this.#fail(reason);
      });
    });
  }

  /** Starts the backend: the first call, once. */
  async start(backend: string): Promise<BackendReport> {
    return (this.report = await this.call('start', [backend]));
  }

  /**
   * Rejects with what the worker threw, or with `InferenceWorkerError` when it dies first.
   *
   * @param subject what is called for, in words: the answer must come within the heartbeat's limit. Without it, the call may
   *   take any time.
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
    if (failure) caller.reject(this.#errorOf(failure));
    else caller.resolve(value);
  }

  /** Measures the silence about the current call. */
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
   * Ends the thread; calls under way reject with `InferenceWorkerError`. Resolves also when the thread cannot be ended since
   * it runs native code that does not return.
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

  /** Node ends a thread between two steps of JavaScript, and waits for that, also at the end of the process. */
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

  /** The error as the worker threw it, with the worker's stack. */
  #errorOf({ code = '', name, message, stack }: Failure): Error {
    const errors: InferenceRuntime['workerErrors'] = {
      ERR_BATCHING_MODEL_FILE: ModelFileError,
      ERR_BATCHING_MODEL: UnsupportedModelError,
      ...this.#runtime.workerErrors,
    };
    const Type = errors[code] ?? Error;
    return Object.assign(new Type(message), { name, stack });
  }
}

/** A process that exits waits for its threads, and would wait for a stuck one for ever. */
function killProcess(): void {
  process.kill(process.pid, 'SIGKILL');
}
