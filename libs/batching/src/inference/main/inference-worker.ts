import { resolve as absolute } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { Logger } from '@nestjs/common';
import { type BackendReport, type TfjsBackend, tfjsBackends } from '../../tfjs/backend.js';
import { BatchMemory, type BatchTensor, type SharedBatch, viewsOf } from '../protocol/batch-layout.js';
import { BatchSizes } from './batch-sizes.js';
import { ServiceStoppedError } from '../../core/errors.js';
import { LONGEST_TIMER } from '../../core/options.js';
import {
  InferenceError,
  InferenceWorkerError,
  ModelFileError,
  ModelNotReadyError,
  TfjsModuleError,
  UnsupportedModelError,
} from '../errors.js';
import { Heartbeat } from './heartbeat.js';
import { InferenceThread } from './inference-thread.js';
import type { BackendMemory, LoadReport } from '../worker/run-loop.js';
import type { ModelChecksums } from '../../tfjs/worker/read-model-files.js';
import { bytesOnly, checkInputs, fillBatch, type InputTensors } from './model-input.js';
import type { InputShape, ModelDescription } from '../../tfjs/worker/load-network.js';
import { differenceFrom, type ModelSelfTest, nonFiniteIn } from './self-test.js';

/** Where a model is, and how it is to be run. */
export interface ModelSource {
  path: string;
  inputShape?: InputShape;
  batchSizes?: readonly number[];
  selfTest?: readonly ModelSelfTest[];
  allowNonFinite?: boolean;
  checksums?: ModelChecksums;
}

/** A model that was loaded, warmed up and tested, and what a restart of the worker has made of it since. */
export interface PreparedModel {
  /** Of the first start, for good: callers and queues are built on it. A restart that finds another refuses the model. */
  readonly description: ModelDescription;
  /** These follow the backend, which a restart may change under `auto`. */
  sizes: BatchSizes;
  /** Of the files that it runs on. */
  checksums: ModelChecksums;
  /** Why the worker does not hold it; predictions reject with this. */
  refusal: ModelNotReadyError | undefined;
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
  /** `model`, once it is there. */
  prepared?: PreparedModel;
}

/** Longest pause before the worker is started again, in milliseconds. */
const maxPause = 5000;
/** A warm-up that takes longer tells how far it is, as often; in milliseconds. */
const warmUpSilence = 1000;
/** Longest time between two looks at the files of a refused model, in milliseconds; the first are closer together. */
const longestLook = 2000;
/** How long files that did not change are left alone before they are loaded once more, at first; in milliseconds. */
const patience = 30_000;
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

  /** Whether the worker is up, with all models that it does not refuse loaded and warmed up. */
  get ready(): boolean {
    return this.#up && !this.#closing;
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
    const registration: Registration = { source, model };
    this.#models.set(name, registration);
    try {
      return (registration.prepared = await model);
    } catch (error) {
      this.#models.delete(name);
      throw error;
    }
  }

  /** @param before as the application knows the model since its start */
  async #prepare(
    thread: InferenceThread,
    name: string,
    source: ModelSource,
    before?: PreparedModel,
  ): Promise<PreparedModel> {
    const report = await thread.call('load', [name, source.path, source.inputShape]);
    const { description, checksums } = report;
    const { inputs, outputs } = description;
    checkReport(name, source, report, before?.description);
    this.#logger.log(`model '${name}' loaded: ${shapesOf(inputs)} to ${shapesOf(outputs)}`);
    const sizes = new BatchSizes(source.batchSizes, this.#report.gpu || this.#report.backend === 'webgpu');
    const prepared: PreparedModel = { description, sizes, checksums, refusal: undefined };
    await this.#warmUp(thread, name, source, prepared);
    for (const test of source.selfTest ?? []) await this.#test(thread, name, prepared, test);
    return prepared;
  }

  async #warmUp(
    thread: InferenceThread,
    name: string,
    { selfTest, allowNonFinite }: ModelSource,
    { description, sizes: { warmUp: sizes } }: PreparedModel,
  ): Promise<void> {
    if (sizes.length === 0) return;
    const start = performance.now();
    let logged = start;
    for (const [i, size] of sizes.entries()) {
      const problem = await this.#try(thread, name, description, [], size, nonFiniteIn);
      if (problem !== undefined && !selfTest && !allowNonFinite) throw notFinite(name, problem);
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

  async #test(
    thread: InferenceThread,
    name: string,
    { description, sizes }: PreparedModel,
    test: ModelSelfTest,
  ): Promise<void> {
    let inputs: InputTensors[];
    try {
      inputs = checkInputs(name, description, [test.input]);
    } catch (cause) {
      const why = messageOf(cause);
      throw new ModelNotReadyError(name, `its selfTest has an input that it does not take: ${why}`, {
        cause,
      });
    }
    for (const { size } of sizes.cut(1)) {
      const look = (outputs: readonly BatchTensor[]) => differenceFrom(test, outputs, size);
      const difference = await this.#try(thread, name, description, inputs, size, look);
      if (difference === undefined) continue;
      throw new ModelNotReadyError(
        name,
        `its selfTest failed on ${this.#report.backend}: ${difference}. Its files are another model's or damaged, or the ` +
          'backend computes it wrong',
      );
    }
  }

  /** Runs one batch that no caller asked for, and looks at its results. */
  async #try<Found>(
    thread: InferenceThread,
    name: string,
    description: ModelDescription,
    inputs: readonly InputTensors[],
    size: number,
    look: (outputs: readonly BatchTensor[]) => Found,
  ): Promise<Found> {
    const batch = this.memory.take(description, size, bytesOnly(inputs, description.inputs));
    try {
      const views = viewsOf(batch, description);
      fillBatch(views.inputs, inputs, size);
      await thread.call('predict', [name, batch]);
      return look(views.outputs);
    } catch (cause) {
      if (cause instanceof InferenceWorkerError) throw cause;
      throw new UnsupportedModelError(
        `model '${name}' cannot run a batch of ${size} on ${this.#report.backend}: ${messageOf(cause)}`,
        { cause },
      );
    } finally {
      this.memory.giveBack(batch);
    }
  }

  /** Runs a batch: its results are in its memory when this resolves. */
  async predict(model: string, batch: SharedBatch): Promise<BatchSteps> {
    if (this.#closing) throw new ServiceStoppedError(`model '${model}'`);
    const filled = now();
    const thread = await this.#thread;
    const refusal = this.#models.get(model)?.prepared?.refusal;
    if (refusal) throw refusal;
    try {
      const { started, upload, run, read } = await thread.call('predict', [model, batch], `model '${model}'`);
      this.#failures = 0;
      return { wait: started - filled, upload, run, read, answer: now() - (started + upload + run + read) };
    } catch (error) {
      if (error instanceof InferenceWorkerError) throw error;
      const why = messageOf(error);
      // The worker refuses a batch for a model that it does not hold.
      if (error instanceof UnsupportedModelError) throw new ModelNotReadyError(model, why, { cause: error });
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
      for (const [name, { source, prepared }] of this.#models) {
        // A first load that was under way has failed with the former worker.
        if (!prepared) continue;
        await this.#prepareAgain(thread, name, source, prepared);
        if (prepared.refusal) void this.#watch(thread, name, source, prepared);
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

  #lose(reason: InferenceWorkerError): void {
    this.#up = false;
    this.#unresponsive = reason;
    this.#replace(Promise.reject(reason));
    this.#logger.fatal(reason.message);
  }

  /** Prepares a model once more after the worker was started again, or refuses it; the other models go on in either case. */
  async #prepareAgain(
    thread: InferenceThread,
    name: string,
    source: ModelSource,
    prepared: PreparedModel,
  ): Promise<void> {
    const { refusal } = prepared;
    try {
      const { sizes, checksums } = await this.#prepare(thread, name, source, prepared);
      const changed = differingFiles(prepared.checksums, checksums);
      if (changed.length > 0) {
        this.#logger.warn(
          `model '${name}' was changed on disk (${changed.join(', ')}) and has the shapes that it had: ` +
            'it answers with what is there now',
        );
      }
      Object.assign(prepared, { sizes, checksums, refusal: undefined });
      if (refusal) this.#logger.log(`model '${name}' is ready again`);
    } catch (cause) {
      if (cause instanceof InferenceWorkerError) throw cause;
      prepared.refusal =
        cause instanceof ModelNotReadyError
          ? cause
          : new ModelNotReadyError(name, messageOf(cause), { cause });
      if (refusal?.message !== prepared.refusal.message) {
        this.#logger.error(`${prepared.refusal.message}; it is loaded again when its files change`);
      }
      await thread.call('unload', [name]);
    }
  }

  /**
   * Loads a refused model again, in the same worker, once its files have changed: a look at them costs far less than a load,
   * which other models would wait for. What failed for another reason is tried again at times that double.
   */
  async #watch(
    thread: InferenceThread,
    name: string,
    source: ModelSource,
    prepared: PreparedModel,
  ): Promise<void> {
    let tried = performance.now();
    let next = patience;
    try {
      for (let pause = 100; prepared.refusal; pause = Math.min(2 * pause, longestLook)) {
        await sleep(pause, undefined, { ref: false });
        if (this.#closing || thread !== this.#latest) return;
        const changed = await thread.call('changed', [name]);
        if (!changed && performance.now() - tried < next) continue;
        next = changed ? patience : 2 * next;
        await this.#prepareAgain(thread, name, source, prepared);
        tried = performance.now();
      }
    } catch (error) {
      // Until the next restart of the worker, which prepares all models. Where it has died, that is now.
      if (!(error instanceof InferenceWorkerError)) this.#logger.error(messageOf(error));
    }
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
        const reason = new InferenceWorkerError(
          `the inference worker could not be started again: ${messageOf(cause)}`,
          { cause },
        );
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

/**
 * Throws unless this is the model that the application started with, made of the files that it is to be made of, and its
 * results of zeros are numbers. The files come after what TensorFlow.js has found in them, which says more.
 */
function checkReport(
  name: string,
  { path, checksums = {}, selfTest, allowNonFinite }: ModelSource,
  report: LoadReport,
  before: ModelDescription | undefined,
): void {
  const { signature } = report.description;
  if (before && before.signature !== signature) {
    throw new ModelNotReadyError(
      name,
      `${path} holds another model than at the start of the application, which had a ${before.signature}; now it is a ` +
        `${signature}. Put the former files back, or restart the application to take the new model`,
    );
  }
  for (const [file, expected] of Object.entries(checksums)) {
    const found = report.checksums[file];
    if (found === expected.toLowerCase()) continue;
    throw new ModelFileError(
      found === undefined
        ? `checksums of model '${name}' names '${file}', which is not read for it; it has ` +
            Object.keys(report.checksums).join(', ')
        : `${file} of model '${name}' is not the file that it should be, but changed or damaged: expected SHA-256 ` +
            `${expected}, found ${found}`,
    );
  }
  if (report.nonFinite !== undefined && !selfTest && !allowNonFinite) throw notFinite(name, report.nonFinite);
}

function notFinite(name: string, problem: string): ModelNotReadyError {
  return new ModelNotReadyError(
    name,
    `an input of zeros gives ${problem}: its weights may be damaged. If this model does that rightly, say so with ` +
      'allowNonFinite: true, or give a selfTest, which decides instead',
  );
}

function differingFiles(before: ModelChecksums, now: ModelChecksums): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(now)])].filter(
    (file) => before[file] !== now[file],
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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
