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
  /**
   * Name of the call in messages, if its time is limited by the heartbeat; `undefined` if it may take any
   * time.
   */
  subject: string | undefined;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

/** Longest wait for the thread's end, in milliseconds. Without native code it takes a few milliseconds. */
const END_PATIENCE = 1000;

/**
 * One thread of the inference worker, from its start to its end. It answers calls in order, and keeps the
 * process alive only while a call is pending. A thread that is silent beyond the limit of its heartbeat is
 * ended.
 */
export class InferenceThread {
  readonly #deviceLock = new DeviceLock();
  readonly #runtime: InferenceRuntime;
  readonly #worker: Worker;
  /** The inference worker that it is a thread of; its name is for messages. */
  readonly #owner: { readonly name: string };
  /** The pending calls by id; the worker works on the first. */
  readonly #callers = new Map<number, Caller>();
  readonly #heartbeat: Heartbeat;
  #calls = 0;
  /** The reason why it takes no more calls. */
  #dead: InferenceWorkerError | undefined;
  /** Describes the silence for which it was ended. */
  #silence: string | undefined;
  #ending: Promise<void> | undefined;
  #reportStuck!: (reason: InferenceWorkerError) => void;

  /** Resolves with the reason when the thread has ended, before pending calls reject with it. */
  readonly ended: Promise<InferenceWorkerError>;
  /**
   * Resolves with the reason when the thread cannot be ended, before pending calls reject with it. `ended`
   * may still resolve later.
   */
  readonly stuck: Promise<InferenceWorkerError>;

  /** The backend that runs in it; set when `start` resolves. */
  report!: BackendReport;

  constructor(runtime: InferenceRuntime, heartbeat: Heartbeat, owner: { readonly name: string }) {
    this.#runtime = runtime;
    this.#owner = owner;
    this.#heartbeat = heartbeat;
    this.#worker = new Worker(runtime.workerFile(), {
      // The application's own flags (loaders, `--input-type`, preloaded instrumentation) do not apply to the
      // worker.
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
    lockAtExit(this.#deviceLock);
    this.stuck = new Promise((resolve) => (this.#reportStuck = resolve));
    this.ended = new Promise((resolve) => {
      this.#worker.once('exit', (exitCode) => {
        unlockAtExit(this.#deviceLock);
        process.removeListener('exit', killProcess);
        const why = cause ? `${cause.name}: ${cause.message}` : `exit code ${exitCode}`;
        const message = this.#silence
          ? `${owner.name} ${this.#silence} and was ended`
          : `${owner.name} died (${why})`;
        const reason = new InferenceWorkerError(message, { cause });
        resolve(reason);
        // If it was given up before, another thread may be using the heartbeat.
        if (!this.#dead) this.#fail(reason);
      });
    });
  }

  /** Starts the backend: the first call, once. */
  async start(backend: string): Promise<BackendReport> {
    return (this.report = await this.call('start', [backend]));
  }

  /**
   * Calls a function of the worker. Rejects with its error, or with `InferenceWorkerError` if the worker dies
   * first.
   *
   * @param subject name of the call in messages; limits its time by the heartbeat. Default: the call may take
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
    // An answer may arrive after the calls were given up.
    if (!caller) return;
    this.#callers.delete(id);
    if (caller.subject !== undefined) this.#heartbeat.beat();
    if (this.#callers.size === 0) this.#worker.unref();
    this.#listen();
    if (failure) caller.reject(this.#errorOf(failure));
    else caller.resolve(value);
  }

  /** Measures the time of the current call, if it is limited. */
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
   * Ends the thread; pending calls reject with `InferenceWorkerError`. Also resolves if the thread cannot be
   * ended because it is in native code that does not return.
   */
  end(): Promise<void> {
    return (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    await this.#deviceLock.end();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, END_PATIENCE, 'late');
    });
    const first = await Promise.race([this.#worker.terminate(), late]);
    clearTimeout(timer);
    if (first === 'late') this.#giveUp();
  }

  /**
   * Node can end a thread only while it runs JavaScript, and waits for that, even at the exit of the process.
   */
  #giveUp(): void {
    const what = this.#silence ?? 'should have ended';
    const reason = new InferenceWorkerError(
      `${this.#owner.name} ${what} and cannot be ended: it is stuck in native code; restart the process`,
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

  /** The worker's error, with its name and stack. */
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

/** The locks of running threads. One listener serves all: Node warns of more than ten. */
const locks = new Set<DeviceLock>();

function lockAtExit(lock: DeviceLock): void {
  if (locks.size === 0) process.on('exit', endAll);
  locks.add(lock);
}

function unlockAtExit(lock: DeviceLock): void {
  locks.delete(lock);
  if (locks.size === 0) process.removeListener('exit', endAll);
}

function endAll(): void {
  for (const lock of locks) lock.endSync();
}

/** On exit a process waits for its threads, and would wait for a stuck thread for ever. */
function killProcess(): void {
  process.kill(process.pid, 'SIGKILL');
}
