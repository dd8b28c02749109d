import { resolve as absolute } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Logger } from '@nestjs/common';
import { type BackendReport, type TfjsBackend, tfjsBackends } from './backend.js';
import { BatchMemory, type SharedBatch, viewsOf } from './batch-memory.js';
import { BatchSizes } from './batch-sizes.js';
import { ServiceStoppedError } from '../core/errors.js';
import { LONGEST_TIMER } from '../core/options.js';
import { InferenceError, InferenceWorkerError, TfjsModuleError, UnsupportedModelError } from './errors.js';
import { Heartbeat } from './heartbeat.js';
import { InferenceThread } from './inference-thread.js';
import type { BackendMemory } from './inference-worker.js';
import { fillBatch } from './model-input.js';
import type { InputShape, ModelDescription } from './network.js';

/** Where a model is, and how it is to be run. */
export interface ModelSource {
  path: string;
  inputShape?: InputShape;
  batchSizes?: readonly number[];
}

/** A model that is loaded and warmed up. */
export interface PreparedModel {
  description: ModelDescription;
  sizes: BatchSizes;
}

/** How long each step of a batch took, in milliseconds; see `InferenceTimings`. */
export interface BatchSteps {
  wait: number;
  upload: number;
  run: number;
  read: number;
  answer: number;
}

/** What lives in memory, over all models of the application. */
export interface InferenceMemory extends BackendMemory {
  /** Bytes of the memory that batches travel in: those in use, and a few that are kept for the next. */
  sharedBytes: number;
}

interface Registration {
  source: ModelSource;
  model: Promise<PreparedModel>;
}

/** Longest pause before the worker is started again, in milliseconds. */
const maxPause = 5000;
/** A warm-up that takes longer tells how far it is, as often; in milliseconds. */
const warmUpSilence = 1000;
/** Longest that `close` waits for predictions by default, in milliseconds: as long as queues wait for their batches. */
const closeTimeout = 10_000;
/** Longest that a worker may be silent by default, in milliseconds. */
const defaultHeartbeat = 30_000;

/**
 * What the models of one device share: its backend, and the inference worker in which their batches run one after the
 * other. When the worker dies, the predictions it had reject, and it is started again with its models: at once the first
 * time and after any prediction that went well, else after a pause that doubles. In a pause predictions reject at once.
 *
 * A worker that is silent about a prediction beyond the limit of its heartbeat is ended, which is one way to die. One that
 * cannot be ended keeps the lane: predictions reject at once, until the thread or the process ends.
 */
export class InferenceLane {
  /** What batches travel in. */
  readonly memory = new BatchMemory();
  readonly #logger = new Logger('TfjsModule');
  readonly #wanted: TfjsBackend | 'auto';
  readonly #heartbeat: Heartbeat;
  readonly #models = new Map<string, Registration>();
  /** The worker, or why there is none. */
  #thread: Promise<InferenceThread>;
  /** The worker that was made last, be it up, starting or dead. */
  #latest: InferenceThread | undefined;
  #report!: BackendReport;
  /** Whether the worker is up. */
  #up = false;
  /** Models that are being loaded or warmed up. */
  #preparing = 0;
  /** Deaths and failed starts since the last prediction that went well. */
  #failures = 0;
  #closing: Promise<void> | undefined;
  #unresponsive: InferenceWorkerError | undefined;

  /**
   * Resolves once the backend runs.
   *
   * @throws {RangeError} for a backend or a heartbeat that is none
   * @throws {TfjsBackendError} if the backend cannot start
   */
  static async open(backend: TfjsBackend | 'auto', heartbeat = defaultHeartbeat): Promise<InferenceLane> {
    const names = ['auto', ...tfjsBackends];
    if (!names.includes(backend)) {
      throw new RangeError(`TfjsModule: backend must be one of ${names.join(', ')}; it is '${backend}'`);
    }
    if (typeof heartbeat !== 'number' || !(heartbeat > 0)) {
      throw new RangeError(
        `TfjsModule: heartbeat must be a number of milliseconds above 0, or Infinity; it is ${String(heartbeat)}`,
      );
    }
    const lane = new InferenceLane(backend, new Heartbeat(heartbeat));
    await lane.#thread;
    return lane;
  }

  private constructor(wanted: TfjsBackend | 'auto', heartbeat: Heartbeat) {
    this.#wanted = wanted;
    this.#heartbeat = heartbeat;
    this.#thread = this.#start();
  }

  /** The backend and its device; another start of the worker may change them where the backend is `auto`. */
  get report(): BackendReport {
    return this.#report;
  }

  /** Whether the worker is up, with all models loaded and warmed up. */
  get ready(): boolean {
    return this.#up && this.#preparing === 0 && !this.#closing;
  }

  /** The error of predictions while the worker is stuck in native code and cannot be ended. */
  get unresponsive(): InferenceWorkerError | undefined {
    return this.#unresponsive;
  }

  /** Loads a model into the worker and warms it up. The same name may come again with the same source only. */
  async load(name: string, { path, ...options }: ModelSource): Promise<PreparedModel> {
    const source = { ...options, path: absolute(path) };
    const registered = this.#models.get(name);
    if (registered && !isDeepStrictEqual(registered.source, source)) {
      throw new TfjsModuleError(
        registered.source.path === source.path
          ? `model '${name}' is registered twice, with different options: give one of them another name`
          : `model '${name}' is registered twice, with ${registered.source.path} and ${source.path}: ` +
              'give one of them another name',
      );
    }
    if (registered) return registered.model;
    const model = this.#thread.then((thread) => this.#prepare(thread, name, source));
    this.#models.set(name, { source, model });
    try {
      return await model;
    } catch (error) {
      this.#models.delete(name);
      throw error;
    }
  }

  async #prepare(thread: InferenceThread, name: string, source: ModelSource): Promise<PreparedModel> {
    this.#preparing += 1;
    try {
      const description = await thread.call('load', [name, source.path, source.inputShape]);
      const { inputs, outputs } = description;
      this.#logger.log(`model '${name}' loaded: ${shapesOf(inputs)} to ${shapesOf(outputs)}`);
      const sizes = new BatchSizes(source.batchSizes, this.#report.gpu || this.#report.backend === 'webgpu');
      await this.#warmUp(thread, name, description, sizes.warmUp);
      return { description, sizes };
    } finally {
      this.#preparing -= 1;
    }
  }

  async #warmUp(
    thread: InferenceThread,
    name: string,
    description: ModelDescription,
    sizes: readonly number[],
  ): Promise<void> {
    if (sizes.length === 0) return;
    const start = performance.now();
    let logged = start;
    for (const [i, size] of sizes.entries()) {
      const batch = this.memory.take(description, size, []);
      fillBatch(viewsOf(batch, description).inputs, [], size);
      try {
        await thread.call('predict', [name, batch]);
      } catch (cause) {
        if (cause instanceof InferenceWorkerError) throw cause;
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new UnsupportedModelError(
          `model '${name}' cannot run a batch of ${size} on ${this.#report.backend}: ${why}`,
          { cause },
        );
      } finally {
        this.memory.giveBack(batch);
      }
      if (performance.now() - logged > warmUpSilence && i < sizes.length - 1) {
        logged = performance.now();
        this.#logger.log(
          `model '${name}' is warming up: batches of ${size} done, ${i + 1} of ${sizes.length} sizes`,
        );
      }
    }
    const took = Math.round(performance.now() - start);
    this.#logger.log(`model '${name}' warmed up with batches of ${sizes.join(', ')} in ${took} ms`);
  }

  /** Runs a batch: its results are in its memory when this resolves. */
  async predict(model: string, batch: SharedBatch): Promise<BatchSteps> {
    if (this.#closing) throw new ServiceStoppedError(`model '${model}'`);
    const filled = now();
    const thread = await this.#thread;
    try {
      const { started, upload, run, read } = await thread.call('predict', [model, batch], `model '${model}'`);
      this.#failures = 0;
      return { wait: started - filled, upload, run, read, answer: now() - (started + upload + run + read) };
    } catch (error) {
      if (error instanceof InferenceWorkerError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new InferenceError(`model '${model}' failed on ${this.#report.backend}: ${why}`, {
        cause: error,
      });
    }
  }

  async usedMemory(): Promise<InferenceMemory> {
    const thread = await this.#thread;
    return { ...(await thread.call('memory', [], 'memory()')), sharedBytes: this.memory.bytes };
  }

  /**
   * Finishes the predictions that were asked for, refuses others from now on, and ends the worker. A worker that takes longer
   * than `timeout` is ended all the same: what it had rejects with `InferenceWorkerError`. Resolves within a second more (on
   * `webgpu` six), whatever the worker does.
   */
  close(timeout = closeTimeout): Promise<void> {
    return (this.#closing ??= this.#close(timeout));
  }

  async #close(timeout: number): Promise<void> {
    // Calls are answered in order: with this one, all before it are.
    const answered = this.#thread.then((thread) => thread.call('memory', [], 'memory()'));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      if (timeout <= LONGEST_TIMER) timer = setTimeout(resolve, timeout, 'late');
    });
    // If it is dead already, nothing is waited for.
    const first = await Promise.race([answered.catch(() => undefined), late]);
    clearTimeout(timer);
    if (first === 'late') {
      this.#logger.warn(
        `the inference worker has not finished within ${Math.round(timeout)} ms and is ended`,
      );
    }
    await this.#latest?.end();
  }

  async #start(): Promise<InferenceThread> {
    const thread = (this.#latest = new InferenceThread(this.#heartbeat));
    try {
      this.#report = await thread.call('start', [this.#wanted]);
      for (const [name, { source }] of this.#models) await this.#prepare(thread, name, source);
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

  #lose(reason: InferenceWorkerError): void {
    this.#up = false;
    this.#unresponsive = reason;
    this.#replace(Promise.reject(reason));
    this.#logger.fatal(reason.message);
  }

  #restart(reason: InferenceWorkerError): void {
    this.#up = false;
    this.#unresponsive = undefined;
    if (this.#closing) return;
    const pause = this.#failures === 0 ? 0 : Math.min(100 * 2 ** this.#failures, maxPause);
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
    this.#replace(
      this.#start().catch((cause: unknown) => {
        const why = cause instanceof Error ? cause.message : String(cause);
        const reason = new InferenceWorkerError(`the inference worker could not be started again: ${why}`, {
          cause,
        });
        this.#restart(reason);
        throw reason;
      }),
    );
  }

  #replace(thread: Promise<InferenceThread>): void {
    this.#thread = thread;
    // Whoever predicts is told; but perhaps nobody does before the next start.
    thread.catch(() => undefined);
  }
}

/** `[28, 28, 1]`, or each by its name where there are several. */
function shapesOf(tensors: ModelDescription['inputs']): string {
  const shapes = tensors.map(({ shape }) => `[${shape.join(', ')}]`);
  return tensors.length === 1
    ? shapes.join()
    : tensors.map(({ name }, i) => `${name} ${shapes[i] ?? ''}`).join(', ');
}

/** Milliseconds since 1970, of a clock that both threads share and that nobody sets. */
function now(): number {
  return performance.timeOrigin + performance.now();
}
