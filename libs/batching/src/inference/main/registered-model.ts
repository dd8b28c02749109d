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

/**
 * Longest time between two checks of a refused model's files, in milliseconds; the first checks are closer
 * together.
 */
const LONGEST_PAUSE = 2000;
/**
 * Time after which a refused model is loaded again although its files have not changed, in milliseconds;
 * doubles each time.
 */
const PATIENCE = 30_000;

/** A model that has been loaded, warmed up and tested, and its state after restarts of the worker. */
export interface PreparedModel {
  /** Does not change: callers rely on it. If a restart finds another description, the model is refused. */
  readonly description: ModelDescription;
  /** Depend on the backend, which a restart may change if it is `auto`. */
  sizes: BatchSizes;
  /** Checksums of the files that were loaded last. */
  checksums: ModelChecksums;
  /** The checksums as text: workers with equal versions have the same weights. */
  version: string;
  /** When that load began, by `performance.now()`. */
  since: number;
  /** The reason why the worker has not loaded it; predictions reject with this. */
  refusal: ModelNotReadyError | undefined;
}

/** A model of the application, over all restarts of the worker. */
export class RegisteredModel {
  /** `undefined` until the first load is done. */
  #prepared: PreparedModel | undefined;
  readonly #logger: Logger;

  constructor(
    private readonly name: string,
    readonly source: ModelSource,
    private readonly runtime: InferenceRuntime,
    private readonly memory: BatchMemory,
    /** Called when it has been loaded again. */
    private readonly onLoadedAgain: () => void = () => undefined,
  ) {
    this.#logger = new Logger(runtime.module);
  }

  /** The reason why predictions are refused since the last restart. */
  get refusal(): ModelNotReadyError | undefined {
    return this.#prepared?.refusal;
  }

  /** Loads the model for the first time. */
  async load(thread: InferenceThread): Promise<PreparedModel> {
    return (this.#prepared = await this.#prepare(thread));
  }

  /**
   * Loads the model into another thread, or refuses it, which does not affect other models. A refused model
   * is loaded again when its files change.
   *
   * @param isLatest whether the thread is still in use
   */
  async loadAgain(thread: InferenceThread, isLatest: () => boolean): Promise<void> {
    const prepared = this.#prepared;
    // If the first load had not finished, it has failed with the former thread.
    if (!prepared) return;
    await this.#prepareAgain(thread, prepared);
    if (prepared.refusal) void this.#watch(thread, prepared, isLatest);
  }

  /** Loads changed files into the same thread; until that is done, the model is refused. */
  async reload(thread: InferenceThread, isLatest: () => boolean): Promise<void> {
    const prepared = this.#prepared;
    if (!prepared || prepared.refusal) return;
    prepared.refusal = new ModelNotReadyError(this.name, 'its files have changed, and it is loaded again');
    await this.loadAgain(thread, isLatest);
  }

  async #prepare(thread: InferenceThread): Promise<PreparedModel> {
    const { name, source } = this;
    const since = performance.now();
    const report = await thread.call('load', [name, source.path, source.inputShape, source.state]);
    const { description, checksums } = report;
    checkReport(name, source, report, this.#prepared?.description);
    this.#logger.log(
      `model '${name}' loaded: ${shapesOf(description.inputs)} to ${shapesOf(description.outputs)}`,
    );
    const sizes = new BatchSizes(source.batchSizes, this.runtime.pads(thread.report));
    const trial = new ModelTrial(name, description, sizes, thread, this.memory, this.#logger);
    await trial.warmUp(isNonFiniteAllowed(source));
    for (const test of source.selfTest ?? []) await trial.test(test);
    return { description, sizes, checksums, version: JSON.stringify(checksums), since, refusal: undefined };
  }

  async #prepareAgain(thread: InferenceThread, prepared: PreparedModel): Promise<void> {
    const { name } = this;
    const { refusal } = prepared;
    try {
      const { sizes, checksums, version, since } = await this.#prepare(thread);
      const changed = differingFiles(prepared.checksums, checksums);
      if (changed.length > 0) {
        this.#logger.warn(
          `model '${name}' was changed on disk (${changed.join(', ')}) and has the same shapes: ` +
            'the changed model is used',
        );
      }
      Object.assign(prepared, { sizes, checksums, version, since, refusal: undefined });
      if (refusal) this.#logger.log(`model '${name}' is ready again`);
      this.onLoadedAgain();
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
   * Loads a refused model again, in the same thread, when its files have changed. Checking them is much
   * faster than a load, during which other models would wait. In case the failure had another cause, it is
   * also loaded again after `PATIENCE`.
   */
  async #watch(thread: InferenceThread, prepared: PreparedModel, isLatest: () => boolean): Promise<void> {
    let tried = performance.now();
    let next = PATIENCE;
    try {
      for (let pause = 100; prepared.refusal; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
        await sleep(pause, undefined, { ref: false });
        if (!isLatest()) return;
        const changed = await thread.call('changed', [this.name]);
        if (!changed && performance.now() - tried < next) continue;
        next = changed ? PATIENCE : 2 * next;
        await this.#prepareAgain(thread, prepared);
        tried = performance.now();
      }
    } catch (error) {
      // No more attempts until the next restart, which loads all models; if the thread has died, that follows
      // at once.
      if (!(error instanceof InferenceWorkerError)) this.#logger.error(messageOf(error));
    }
  }
}

/**
 * Throws unless the model has the signature that it had at the start of the application, its files have the
 * configured checksums, and its results of zeros are finite. The runtime checks the files before this, as its
 * messages say more.
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
      `${source.path} has another model than at the start of the application, which had a ${before.signature}; now it is ` +
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
        : `${file} of model '${name}' was changed or is damaged: expected SHA-256 ` +
            `${expected}, found ${found}`,
    );
  }
  if (report.nonFinite !== undefined && !isNonFiniteAllowed(source)) throw notFinite(name, report.nonFinite);
}

/** A self-test checks the results itself. */
function isNonFiniteAllowed({ selfTest, allowNonFinite }: ModelSource): boolean {
  return selfTest !== undefined || allowNonFinite === true;
}

export function differingFiles(before: ModelChecksums, now: ModelChecksums): string[] {
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
