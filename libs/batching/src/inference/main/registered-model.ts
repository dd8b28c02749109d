import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { InferenceWorkerError, messageOf, ModelFileError, ModelNotReadyError } from '../errors.js';
import type { LoadReport } from '../protocol/messages.js';
import type { ModelChecksums, ModelDescription } from '../protocol/model-description.js';
import type { BatchMemory } from './batch-memory.js';
import { BatchSizes } from './batch-sizes.js';
import type { InferenceRuntime } from './inference-runtime.js';
import type { InferenceThread } from './inference-thread.js';
import type { ModelSource } from './model-source.js';
import { ModelTrial, notFinite } from './model-trial.js';

/** Longest time between two checks of a refused model's files, in milliseconds; the first are closer together. */
const longestPause = 2000;
/** How long unchanged files are left alone before they are loaded once more, at first; in milliseconds. */
const patience = 30_000;

/** A model that was loaded, warmed up and tested, and its state after later restarts of the worker. */
export interface PreparedModel {
  /** Of the first start, for good: callers and queues are built on it. A restart that finds another refuses the model. */
  readonly description: ModelDescription;
  /** They follow the backend, which a restart may change under `auto`. */
  sizes: BatchSizes;
  /** Of the files that it runs on. */
  checksums: ModelChecksums;
  /** Why the worker does not hold it; predictions reject with this. */
  refusal: ModelNotReadyError | undefined;
}

/** A model of the application, across all threads that the worker has had and will have. */
export class RegisteredModel {
  /** `undefined` until the first load is done. */
  #prepared: PreparedModel | undefined;
  readonly #logger: Logger;

  constructor(
    private readonly name: string,
    readonly source: ModelSource,
    private readonly runtime: InferenceRuntime,
    private readonly memory: BatchMemory,
  ) {
    this.#logger = new Logger(runtime.module);
  }

  /** Why predictions are refused, as the last restart has left it. */
  get refusal(): ModelNotReadyError | undefined {
    return this.#prepared?.refusal;
  }

  /** Loads the model for the first time. */
  async load(thread: InferenceThread): Promise<PreparedModel> {
    return (this.#prepared = await this.#prepare(thread));
  }

  /**
   * Loads the model into another thread, or refuses it; the other models go on in either case.
   *
   * @param isLatest whether the thread is still in use: a refused model is loaded again in it, once its files have changed
   */
  async loadAgain(thread: InferenceThread, isLatest: () => boolean): Promise<void> {
    const prepared = this.#prepared;
    // A first load that was under way has failed with the former thread.
    if (!prepared) return;
    await this.#prepareAgain(thread, prepared);
    if (prepared.refusal) void this.#watch(thread, prepared, isLatest);
  }

  async #prepare(thread: InferenceThread): Promise<PreparedModel> {
    const { name, source } = this;
    const report = await thread.call('load', [name, source.path, source.inputShape]);
    const { description, checksums } = report;
    checkReport(name, source, report, this.#prepared?.description);
    this.#logger.log(
      `model '${name}' loaded: ${shapesOf(description.inputs)} to ${shapesOf(description.outputs)}`,
    );
    const sizes = new BatchSizes(source.batchSizes, this.runtime.pads(thread.report));
    const trial = new ModelTrial(name, description, sizes, thread, this.memory, this.#logger);
    await trial.warmUp(isNonFiniteAllowed(source));
    for (const test of source.selfTest ?? []) await trial.test(test);
    return { description, sizes, checksums, refusal: undefined };
  }

  async #prepareAgain(thread: InferenceThread, prepared: PreparedModel): Promise<void> {
    const { name } = this;
    const { refusal } = prepared;
    try {
      const { sizes, checksums } = await this.#prepare(thread);
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
   * Loads a refused model again, in the same thread, once its files have changed: to check them costs far less than a load,
   * which other models would wait for. A failure with another cause is tried again after times that double.
   */
  async #watch(thread: InferenceThread, prepared: PreparedModel, isLatest: () => boolean): Promise<void> {
    let tried = performance.now();
    let next = patience;
    try {
      for (let pause = 100; prepared.refusal; pause = Math.min(2 * pause, longestPause)) {
        await sleep(pause, undefined, { ref: false });
        if (!isLatest()) return;
        const changed = await thread.call('changed', [this.name]);
        if (!changed && performance.now() - tried < next) continue;
        next = changed ? patience : 2 * next;
        await this.#prepareAgain(thread, prepared);
        tried = performance.now();
      }
    } catch (error) {
      // Until the next restart, which loads all models. If the thread has died, that is now.
      if (!(error instanceof InferenceWorkerError)) this.#logger.error(messageOf(error));
    }
  }
}

/**
 * Throws unless this is the model that the application started with, its files have the checksums of the options, and its
 * results of zeros are finite. The runtime's own check of the files comes before the checksums, as its messages say more.
 */
function checkReport(
  name: string,
  source: ModelSource,
  report: LoadReport,
  before: ModelDescription | undefined,
): void {
  const { signature } = report.description;
  if (before && before.signature !== signature) {
    throw new ModelNotReadyError(
      name,
      `${source.path} holds another model than at the start of the application, which had a ${before.signature}; now it is ` +
        `a ${signature}. Put the former files back, or restart the application to take the new model`,
    );
  }
  for (const [file, expected] of Object.entries(source.checksums ?? {})) {
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
  if (report.nonFinite !== undefined && !isNonFiniteAllowed(source)) throw notFinite(name, report.nonFinite);
}

/** A self-test knows the right results, so it decides instead. */
function isNonFiniteAllowed({ selfTest, allowNonFinite }: ModelSource): boolean {
  return selfTest !== undefined || allowNonFinite === true;
}

function differingFiles(before: ModelChecksums, now: ModelChecksums): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(now)])].filter(
    (file) => before[file] !== now[file],
  );
}

/** `[28, 28, 1]`, or each by its name where there are several. */
function shapesOf(tensors: ModelDescription['inputs']): string {
  const shapes = tensors.map(({ shape }) => `[${shape.join(', ')}]`);
  return tensors.length === 1
    ? shapes.join()
    : tensors.map(({ name }, i) => `${name} ${shapes[i] ?? ''}`).join(', ');
}
