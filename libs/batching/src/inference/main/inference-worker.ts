import { resolve as absolute } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Logger } from '@nestjs/common';
import { ServiceStoppedError } from '../../core/errors.js';
import { LONGEST_TIMER } from '../../core/clock.js';
import {
  InferenceError,
  InferenceWorkerError,
  messageOf,
  ModelNotReadyError,
  UnsupportedModelError,
} from '../errors.js';
import type { SharedBatch } from '../protocol/batch-layout.js';
import type { BatchStates } from '../protocol/batch-states.js';
import type { BackendMemory, BackendReport } from '../protocol/messages.js';
import type { BatchMemory } from './batch-memory.js';
import { Heartbeat } from './heartbeat.js';
import type { InferenceRuntime } from './inference-runtime.js';
import { InferenceThread } from './inference-thread.js';
import type { ModelSource } from './model-source.js';
import { type PreparedModel, RegisteredModel } from './registered-model.js';

/** Time of each step of one batch, in milliseconds; see `InferenceTimings`. */
export interface BatchSteps {
  wait: number;
  upload: number;
  run: number;
  read: number;
  answer: number;
  /** Indices of the inputs whose state the worker does not have. */
  lost: readonly number[];
}

/** What the workers of one application share. */
export interface SharedByWorkers {
  /** The memory that batches are passed in. */
  memory: BatchMemory;
  /** Called when a model has been loaded again, perhaps with other weights. */
  onLoadedAgain: (model: string) => void;
}

/** Longest pause before the worker is started again, in milliseconds. */
const MAX_PAUSE = 5000;
/** Default of `close`, in milliseconds: the same as `shutdownTimeout` of the queues. */
const CLOSE_TIMEOUT = 10_000;
/** Default of the longest silence of a worker, in milliseconds. */
const DEFAULT_HEARTBEAT = 30_000;

/**
 * An inference worker: a backend that the models of one device share, in a thread in which their batches run
 * one at a time. If its thread (`InferenceThread`) dies, the pending predictions reject, and another thread
 * is started with all models: at once if a prediction has succeeded since the last death, else after a pause
 * that doubles each time. During the pause predictions reject at once.
 *
 * A thread that does not answer a prediction within the limit of its heartbeat is ended. While it cannot be
 * ended, no other is started: predictions reject at once, until the thread or the process ends.
 */
export class InferenceWorker {
  /** What messages call it. */
  name = 'the inference worker';
  /** Times that a thread was started in place of one that had ended. */
  restarts = 0;
  readonly #shared: SharedByWorkers;
  readonly #runtime: InferenceRuntime;
  readonly #logger: Logger;
  #backend: string;
  readonly #heartbeat: Heartbeat;
  /** The models by name; `prepared` settles with the first load. */
  readonly #models = new Map<string, { model: RegisteredModel; prepared: Promise<PreparedModel> }>();
  /** Resolves to the thread when its models are loaded; rejects with the reason why there is none. */
  #thread: Promise<InferenceThread>;
  /** The last thread that was started, even if it is dead. */
  #latest: InferenceThread | undefined;
  #report!: BackendReport;
  /** Whether the thread runs, with its models loaded. */
  #up = false;
  /** Whether a thread is being started. */
  #starting = true;
  /** Deaths and failed starts since the last prediction that succeeded. */
  #failures = 0;
  #closing: Promise<void> | undefined;
  #unresponsive: InferenceWorkerError | undefined;

  /**
   * Starts a worker; resolves when its backend runs.
   *
   * @param shared what it shares with the other workers
   * @param backend a name that the runtime knows, or `auto`
   * @param heartbeat longest time to the answer of a prediction, in milliseconds: above 0, or `Infinity`.
   *   Default 30,000
   * @throws {RangeError} for an invalid heartbeat
   * @throws what the runtime's worker throws if the backend cannot start
   */
  static async open(
    runtime: InferenceRuntime,
    shared: SharedByWorkers,
    backend: string,
    heartbeat = DEFAULT_HEARTBEAT,
  ): Promise<InferenceWorker> {
    if (typeof heartbeat !== 'number' || !(heartbeat > 0)) {
      throw new RangeError(
        `${runtime.module}: heartbeat must be a number of milliseconds above 0, or Infinity; it is ${String(heartbeat)}`,
      );
    }
    const worker = new InferenceWorker(runtime, shared, backend, new Heartbeat(heartbeat));
    await worker.#thread;
    return worker;
  }

  private constructor(
    runtime: InferenceRuntime,
    shared: SharedByWorkers,
    backend: string,
    heartbeat: Heartbeat,
  ) {
    this.#runtime = runtime;
    this.#shared = shared;
    this.#logger = new Logger(runtime.module);
    this.#backend = backend;
    this.#heartbeat = heartbeat;
    this.#thread = this.#start();
  }

  /** The backend and its device; a restart may change them if the backend is `auto`. */
  get report(): BackendReport {
    return this.#report;
  }

  /** Whether the worker runs, with all models loaded and warmed up, except refused ones. */
  get ready(): boolean {
    return this.#up && !this.#closing;
  }

  /** Whether a thread is being started; predictions wait for it. */
  get starting(): boolean {
    return this.#starting && !this.#closing;
  }

  /** The error of predictions while the thread is stuck in native code and cannot be ended. */
  get unresponsive(): InferenceWorkerError | undefined {
    return this.#unresponsive;
  }

  /** Makes it one of several workers, which have names of their own and keep one backend. */
  join(name: string, backend: string): void {
    this.name = name;
    this.#backend = backend;
  }

  /** Loads a model and warms it up. The same name may be loaded again only with equal options. */
  async load(name: string, { path, ...options }: ModelSource): Promise<PreparedModel> {
    const source = { ...options, path: absolute(path) };
    const registered = this.#models.get(name);
    if (registered) {
      this.#checkSame(name, registered.model.source, source);
      return registered.prepared;
    }
    const model = new RegisteredModel(name, source, this.#runtime, this.#shared.memory, () => {
      this.#shared.onLoadedAgain(name);
    });
    const prepared = this.#thread.then((thread) => model.load(thread));
    this.#models.set(name, { model, prepared });
    try {
      return await prepared;
    } catch (error) {
      this.#models.delete(name);
      throw error;
    }
  }

  /** Loads the model's changed files. Until that is done, the model is refused. */
  async reload(name: string): Promise<void> {
    const thread = await this.#thread;
    await this.#models.get(name)?.model.reload(thread, () => this.#isLatest(thread));
  }

  #checkSame(name: string, before: ModelSource, now: ModelSource): void {
    if (isDeepStrictEqual(before, now)) return;
    throw new this.#runtime.ModuleError(
      before.path === now.path
        ? `model '${name}' is registered twice, with different options: give one of them another name`
        : `model '${name}' is registered twice, with ${before.path} and ${now.path}: give one of them another name`,
    );
  }

  /**
   * Runs a batch. When this resolves, the results are in the batch's memory.
   *
   * @param states if the states of its streams stay in the worker
   */
  async predict(model: string, batch: SharedBatch, states?: BatchStates): Promise<BatchSteps> {
    if (this.#closing) throw new ServiceStoppedError(`model '${model}'`);
    const filled = now();
    // A thread that runs gets the batch at once, before the caller fills the next one.
    const running = this.#up ? this.#latest : undefined;
    const thread = running ?? (await this.#thread);
    const refusal = this.#models.get(model)?.model.refusal;
    if (refusal) throw refusal;
    try {
      const { started, upload, run, read, lost } = await thread.call(
        'predict',
        [model, batch, states],
        `model '${model}'`,
      );
      this.#failures = 0;
      const answer = now() - (started + upload + run + read);
      return { wait: started - filled, upload, run, read, answer, lost };
    } catch (error) {
      if (error instanceof InferenceWorkerError) throw error;
      const why = messageOf(error);
      // The thread refuses a batch for a model that it has not loaded.
      if (error instanceof UnsupportedModelError) throw new ModelNotReadyError(model, why, { cause: error });
      throw new InferenceError(`model '${model}' failed on ${this.#report.backend}: ${why}`, {
        cause: error,
      });
    }
  }

  /** Drops states of streams of a model. Without effect while no thread runs, as none has them then. */
  async drop(model: string, states: readonly number[]): Promise<void> {
    if (this.#up) await this.#latest?.call('drop', [model, states]);
  }

  async usedMemory(): Promise<BackendMemory> {
    const thread = await this.#thread;
    return thread.call('memory', [], 'memory()');
  }

  /**
   * Refuses new predictions, waits for the pending ones for at most `timeout` milliseconds, and ends the
   * thread; predictions that are left reject with `InferenceWorkerError`. Resolves at most one second later
   * (six on `webgpu` and ONNX Runtime), whatever the thread does.
   */
  close(timeout = CLOSE_TIMEOUT): Promise<void> {
    return (this.#closing ??= this.#close(timeout));
  }

  async #close(timeout: number): Promise<void> {
    // Calls are answered in order: when this one is answered, so are all before it.
    const answered = this.#thread.then((thread) => thread.call('memory', [], 'memory()'));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      if (timeout <= LONGEST_TIMER) timer = setTimeout(resolve, timeout, 'late');
    });
    // A dead thread rejects at once.
    const first = await Promise.race([answered.catch(() => undefined), late]);
    clearTimeout(timer);
    if (first === 'late') {
      this.#logger.warn(`${this.name} has not finished within ${Math.round(timeout)} ms and is ended`);
    }
    await this.#latest?.end();
  }

  #isLatest(thread: InferenceThread): boolean {
    return !this.#closing && thread === this.#latest;
  }

  async #start(): Promise<InferenceThread> {
    this.#starting = true;
    try {
      return await this.#startThread();
    } finally {
      this.#starting = false;
    }
  }

  async #startThread(): Promise<InferenceThread> {
    const thread = (this.#latest = new InferenceThread(this.#runtime, this.#heartbeat, this));
    try {
      this.#report = await thread.start(this.#backend);
      for (const { model } of this.#models.values()) {
        await model.loadAgain(thread, () => this.#isLatest(thread));
      }
    } catch (error) {
      await thread.end();
      throw error;
    }
    void thread.ended.then((reason) => {
      this.#restart(reason);
    });
    void thread.stuck.then((reason) => {
      this.#lose(reason);
    });
    const { backend, device, passedOver } = this.#report;
    const others = passedOver.map((reason) => `; passed over ${reason}`).join('');
    this.#logger.log(`backend ${backend} on ${device}${others}`);
    this.#up = true;
    return thread;
  }

  #restart(reason: InferenceWorkerError): void {
    this.#up = false;
    this.#unresponsive = undefined;
    if (this.#closing) return;
    const pause = this.#failures === 0 ? 0 : Math.min(100 * 2 ** this.#failures, MAX_PAUSE);
    this.#failures += 1;
    this.#logger.error(`${reason.message}; started again ${pause === 0 ? 'now' : `in ${pause} ms`}`);
    if (pause === 0) {
      this.#startAgain();
    } else {
      this.#replace(Promise.reject(reason));
      setTimeout(() => {
        this.#startAgain();
      }, pause).unref();
    }
  }

  #startAgain(): void {
    if (this.#closing) return;
    this.restarts += 1;
    this.#replace(
      this.#start().catch((cause: unknown) => {
        const reason = new InferenceWorkerError(
          `${this.name} could not be started again: ${messageOf(cause)}`,
          { cause },
        );
        this.#restart(reason);
        throw reason;
      }),
    );
  }

  #lose(reason: InferenceWorkerError): void {
    this.#up = false;
    this.#unresponsive = reason;
    this.#replace(Promise.reject(reason));
    this.#logger.fatal(reason.message);
  }

  #replace(thread: Promise<InferenceThread>): void {
    this.#thread = thread;
    // Predictions reject with it, but there may be none before the next start.
    thread.catch(() => undefined);
  }
}

/** Milliseconds since 1970, by a monotonic clock that both threads share. */
function now(): number {
  return performance.timeOrigin + performance.now();
}
