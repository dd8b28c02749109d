import { invariant } from '../../core/invariant.js';
import { ModelFileError, type ModelNotReadyError } from '../errors.js';
import type { ModelDescription } from '../protocol/model-description.js';
import type { BatchSizes } from './batch-sizes.js';
import { BatchSplitting } from './batch-splitting.js';
import type { ModelStates } from './model-state.js';
import { differingFiles, type PreparedModel } from './registered-model.js';

/** Weight of a new batch in the mean time per input. */
const WEIGHT = 0.2;

/**
 * A model in all workers of the pool. Its version is that of the load that began last: only workers that have
 * it take batches.
 */
export class PooledModel {
  readonly splitting = new BatchSplitting();
  readonly description: ModelDescription;
  /** The states of its streams; `undefined` if none stay in the workers. */
  states: ModelStates | undefined;
  /** The first worker's. */
  readonly #first: PreparedModel;
  /** The version in use, and when its load began. */
  #version: string;
  #since: number;
  #perInput = 0;

  /**
   * @param loads the model in each worker; they change with restarts
   * @throws {ModelFileError} if workers have loaded different files
   */
  constructor(
    readonly name: string,
    readonly loads: readonly PreparedModel[],
  ) {
    const [first] = loads;
    invariant(first !== undefined, 'a pool has no worker');
    for (const { version, checksums } of loads) {
      if (version === first.version) continue;
      throw new ModelFileError(
        `model '${name}' was changed on disk (${differingFiles(first.checksums, checksums).join(', ')}) while its ` +
          'workers were loading it: start the application again when its files are complete',
      );
    }
    this.#first = first;
    this.description = first.description;
    this.#version = first.version;
    this.#since = Math.max(...loads.map(({ since }) => since));
  }

  get sizes(): BatchSizes {
    return this.#first.sizes;
  }

  /** The reason why no worker takes batches, if all refuse the model. */
  get refusal(): ModelNotReadyError | undefined {
    return this.loads.every(({ refusal }) => refusal) ? this.#first.refusal : undefined;
  }

  /** Whether the worker of this index has the version in use, and does not refuse the model. */
  isCurrentIn(worker: number): boolean {
    const load = this.#loadIn(worker);
    return !load.refusal && load.version === this.#version;
  }

  /** Whether the worker refuses the model. */
  isRefusedBy(worker: number): boolean {
    return this.#loadIn(worker).refusal !== undefined;
  }

  /**
   * Follows loads that have ended: the one that began last decides which version is in use.
   *
   * @returns the workers that have another version, and must load it
   */
  update(): number[] {
    for (const { refusal, since, version } of this.loads) {
      if (refusal || since <= this.#since) continue;
      this.#since = since;
      this.#version = version;
    }
    return [...this.loads.keys()].filter((worker) => !this.isRefusedBy(worker) && !this.isCurrentIn(worker));
  }

  /** Estimated time of a batch in a worker, in milliseconds; 0 before the first. */
  expectedTime(size: number): number {
    return this.#perInput * size;
  }

  /** A batch of this size has taken a worker `time` milliseconds. */
  measured(size: number, time: number): void {
    const perInput = time / size;
    this.#perInput = this.#perInput === 0 ? perInput : this.#perInput + WEIGHT * (perInput - this.#perInput);
  }

  #loadIn(worker: number): PreparedModel {
    const load = this.loads[worker];
    invariant(load !== undefined, 'a worker has not loaded a model of its pool');
    return load;
  }
}
