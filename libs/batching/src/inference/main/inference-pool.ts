import { Logger } from '@nestjs/common';
import { invariant } from '../../core/invariant.js';
import { InferenceWorkerError, messageOf } from '../errors.js';
import type { SharedBatch } from '../protocol/batch-layout.js';
import type { BatchStates } from '../protocol/batch-states.js';
import type { BackendMemory, BackendReport } from '../protocol/messages.js';
import { BatchMemory } from './batch-memory.js';
import type { BatchPiece, BatchSizes } from './batch-sizes.js';
import type { InferenceRuntime } from './inference-runtime.js';
import { type BatchSteps, InferenceWorker, type SharedByWorkers } from './inference-worker.js';
import type { ModelSource } from './model-source.js';
import { ModelStates } from './model-state.js';
import { PooledModel } from './pooled-model.js';
import { usableCpus, workersFor } from './usable-cpus.js';

/** Memory that all models of the application use together, in all workers. */
export interface InferenceMemory extends BackendMemory {
  /** Bytes of the memory in which batches are passed to the workers, including blocks kept for reuse. */
  sharedBytes: number;
}

export interface InferencePoolOptions {
  /** A name that the runtime knows, or `auto`. */
  backend: string;
  /** See `InferenceWorker.open`. */
  heartbeat?: number | undefined;
  /** See `TfjsModuleOptions`. Default `auto`. */
  workers?: number | 'auto' | undefined;
}

/** What the pool needs of an `InferenceWorker`. */
export type PoolWorker = Pick<
  InferenceWorker,
  | 'report'
  | 'ready'
  | 'starting'
  | 'unresponsive'
  | 'restarts'
  | 'join'
  | 'load'
  | 'reload'
  | 'predict'
  | 'drop'
  | 'usedMemory'
  | 'close'
>;

/** A worker, and what it has to do. */
interface Slot {
  readonly index: number;
  readonly worker: PoolWorker;
  /** Batches that it has. */
  batches: number;
  /** The time that they are expected to take, in milliseconds. */
  work: number;
}

/** A piece of a batch, and the worker that runs it. */
export interface PlacedPiece extends BatchPiece {
  slot: Slot;
}

/** A piece of a batch of steps. */
export interface PlacedSteps extends PlacedPiece {
  /** Indices of its steps. */
  steps: readonly number[];
}

/** How a batch runs. */
export interface BatchPlan {
  pieces: PlacedPiece[];
  /** To be called when all its results have been read; not for a batch that fails. */
  done?: () => void;
}

/** Default of `maxStates`. */
const DEFAULT_MAX_STATES = 10_000;
/** Most workers that may be configured. */
const MOST_WORKERS = 256;

/**
 * The inference workers of the application, each with all models: one, or on a CPU one for each core that
 * pays. A batch runs in the worker with the least work; one that finds several workers idle, or soon to be, is
 * split over them if that has been faster so far (`BatchSplitting`).
 *
 * All batches run with the same weights: if a worker that is started again finds other files, it alone takes
 * batches until the others have loaded these, too.
 */
export class InferencePool {
  /** Name of the runtime's Nest module. */
  readonly module: string;
  readonly memory = new BatchMemory();
  readonly #slots: Slot[] = [];
  readonly #models = new Map<string, PooledModel>();
  readonly #logger: Logger;

  /**
   * Starts the workers; resolves when their backends run.
   *
   * @throws {RangeError} for an invalid option
   * @throws what the runtime's worker throws if the backend cannot start
   */
  static async open(
    runtime: InferenceRuntime,
    { backend, heartbeat, workers = 'auto' }: InferencePoolOptions,
    openWorker: (...args: Parameters<typeof InferenceWorker.open>) => Promise<PoolWorker> = (...args) =>
      InferenceWorker.open(...args),
  ): Promise<InferencePool> {
    if (workers !== 'auto' && !(Number.isInteger(workers) && workers >= 1 && workers <= MOST_WORKERS)) {
      throw new RangeError(
        `${runtime.module}: workers must be 'auto' or a whole number from 1 to ${MOST_WORKERS}; it is ${String(workers)}`,
      );
    }
    const pool = new InferencePool(runtime);
    const open = (name: string) => openWorker(runtime, pool.#shared, name, heartbeat);
    try {
      await pool.#add([open(backend)]);
      const count = workers === 'auto' ? workersThatPay(runtime, pool.report) : workers;
      if (count > 1) await pool.#grow(count, open);
    } catch (error) {
      await pool.close();
      throw error;
    }
    return pool;
  }

  private constructor({ module }: InferenceRuntime) {
    this.module = module;
    this.#logger = new Logger(module);
  }

  /** All workers take the first one's backend, also when they are started again: others round differently. */
  async #grow(count: number, open: (backend: string) => Promise<PoolWorker>): Promise<void> {
    const { backend } = this.report;
    const before = process.memoryUsage.rss();
    await this.#add(Array.from({ length: count - 1 }, () => open(backend)));
    for (const [i, { worker }] of this.#slots.entries()) {
      worker.join(`inference worker ${i + 1} of ${count}`, backend);
    }
    this.memory.serve(count);
    const each = (process.memoryUsage.rss() - before) / (count - 1);
    this.#logger.log(
      `${count} inference workers (CPUs: ${usableCpus()}); each takes about ${megabytes(each)}, and its models`,
    );
  }

  /** Adds the workers that start, and rejects afterwards if others do not. */
  async #add(opening: Promise<PoolWorker>[]): Promise<void> {
    const opened = await Promise.allSettled(opening);
    for (const outcome of opened) {
      if (outcome.status === 'rejected') continue;
      this.#slots.push({ index: this.#slots.length, worker: outcome.value, batches: 0, work: 0 });
    }
    const failed = opened.find((outcome) => outcome.status === 'rejected');
    if (failed) throw failed.reason;
  }

  readonly #shared: SharedByWorkers = {
    memory: this.memory,
    onLoadedAgain: (name) => {
      const model = this.#models.get(name);
      if (model) this.#follow(model);
    },
  };

  /** Lets workers with other weights than those in use load these. */
  #follow(model: PooledModel): void {
    for (const index of model.update()) {
      // A worker that dies meanwhile loads them when it is started again.
      this.#slots[index]?.worker.reload(model.name).catch((error: unknown) => {
        if (!(error instanceof InferenceWorkerError)) this.#logger.error(messageOf(error));
      });
    }
  }

  /** The backend and its device. */
  get report(): BackendReport {
    return this.#first.report;
  }

  /** Number of workers. */
  get size(): number {
    return this.#slots.length;
  }

  /** Times that workers were started again. */
  get restarts(): number {
    return this.#slots.reduce((total, { worker }) => total + worker.restarts, 0);
  }

  /** Whether a worker has the model, and the others have no other version of it in use. */
  isReady(model: PooledModel): boolean {
    return this.#slots.some((slot) => isUsable(slot, model));
  }

  /** Whether the thread of this worker has ended, and another one is being started. */
  isStarting(worker: number): boolean {
    return this.#slots[worker]?.worker.starting === true;
  }

  /** The error of predictions while all workers are stuck in native code and cannot be ended. */
  get unresponsive(): InferenceWorkerError | undefined {
    return this.#slots.every(({ worker }) => worker.unresponsive) ? this.#first.unresponsive : undefined;
  }

  /**
   * Loads a model into each worker, and warms it up there. The same name may be loaded again only with equal
   * options.
   */
  async load(name: string, source: ModelSource): Promise<PooledModel> {
    const loads = await Promise.all(this.#slots.map(({ worker }) => worker.load(name, source)));
    const known = this.#models.get(name);
    if (known) return known;
    const model = new PooledModel(name, loads);
    if (source.state) model.states = this.#statesOf(model, source.maxStates);
    this.#models.set(name, model);
    if (this.#slots.length > 1) await this.#logMemory(name);
    return model;
  }

  #statesOf({ name, description }: PooledModel, maxStates = DEFAULT_MAX_STATES): ModelStates {
    return new ModelStates(name, description, maxStates, (index, states) => {
      // A thread that has died has no states.
      this.#slots[index]?.worker.drop(name, states).catch(() => undefined);
    });
  }

  async #logMemory(name: string): Promise<void> {
    const used = await this.#first.usedMemory();
    this.#logger.log(
      `model '${name}' is loaded in ${this.#slots.length} workers, whose models take ${megabytes(used.bytes)} each`,
    );
  }

  /**
   * Decides into which pieces a batch is cut, and which worker runs each. To be followed by `predict` for
   * each piece, in the same turn of the event loop, so that all run with the same weights.
   */
  plan(model: PooledModel, count: number): BatchPlan {
    const usable = this.#slots.filter((slot) => isUsable(slot, model)).sort(byWork);
    const pieces = model.sizes.cut(count);
    if (usable.length === 0) return { pieces: place(pieces, [this.#nextBest(model)]) };
    // A worker with less to do than this batch would be idle before one that ran all of it. So two batches at the
    // same time keep any number of workers busy: each has a part that runs and another that waits.
    const whole = model.expectedTime(count);
    const free = usable.filter(({ batches, work }) => batches === 0 || work < whole).length;
    if (free < 2 || pieces.length > 1 || count === 1) return { pieces: place(pieces, usable) };
    const parts = model.splitting.choose(count, partsFor(free, count, model.sizes));
    const start = performance.now();
    return {
      pieces: place(parts === 1 ? pieces : model.sizes.cut(count, parts), usable),
      done: () => {
        model.splitting.record(count, parts, performance.now() - start);
      },
    };
  }

  /**
   * Decides which workers run the steps of streams: each where its state is. The first step of a stream runs in the
   * worker that keeps the fewest states.
   *
   * @param workers for each step, the index of the worker that keeps its state, if one does
   */
  planSteps(model: PooledModel, workers: readonly (number | undefined)[]): PlacedSteps[] {
    const usable = this.#slots.filter((slot) => isUsable(slot, model));
    const fewest = this.#fewestStates(model, usable.length > 0 ? usable : [this.#nextBest(model)]);
    const bySlot = new Map<Slot, number[]>();
    for (const [step, worker] of workers.entries()) {
      const slot = worker === undefined ? fewest() : this.#slots[worker];
      invariant(slot !== undefined, 'a state is in a worker that there is not');
      const steps = bySlot.get(slot) ?? [];
      steps.push(step);
      bySlot.set(slot, steps);
    }
    return [...bySlot].flatMap(([slot, steps]) =>
      model.sizes.cut(steps.length).map((piece) => ({
        ...piece,
        slot,
        steps: steps.slice(piece.start, piece.start + piece.count),
      })),
    );
  }

  /** @returns the slot for the next stream, at each call */
  #fewestStates({ states }: PooledModel, slots: readonly Slot[]): () => Slot {
    const counts = slots.map((slot) => ({ slot, count: states?.keptBy(slot.index) ?? 0 }));
    return () => {
      const next = counts.reduce((one, other) => (other.count < one.count ? other : one));
      next.count += 1;
      return next.slot;
    };
  }

  /** The worker for a batch if none is up: rather one that is being started than one that pauses before it. */
  #nextBest(model: PooledModel): Slot {
    const accepting = this.#slots.filter(({ index }) => !model.isRefusedBy(index)).sort(byWork);
    const slot = accepting.find(({ worker }) => worker.starting) ?? accepting[0] ?? this.#slots[0];
    invariant(slot !== undefined, 'a pool has no worker');
    return slot;
  }

  /** Runs a piece of a batch. When this resolves, the results are in the memory of `batch`. */
  async predict(
    model: PooledModel,
    { slot, size }: PlacedPiece,
    batch: SharedBatch,
    states?: BatchStates,
  ): Promise<BatchSteps> {
    const work = model.expectedTime(size);
    slot.batches += 1;
    slot.work += work;
    try {
      const steps = await slot.worker.predict(model.name, batch, states);
      model.measured(size, steps.upload + steps.run + steps.read);
      return steps;
    } finally {
      slot.batches -= 1;
      // Sums of floats do not come back to 0 exactly.
      slot.work = slot.batches === 0 ? 0 : slot.work - work;
    }
  }

  /** Memory in use in all workers together. */
  async usedMemory(): Promise<InferenceMemory> {
    const used = await Promise.all(this.#slots.map(({ worker }) => worker.usedMemory()));
    return { ...used.reduce(sum), sharedBytes: this.memory.bytes };
  }

  /** Closes all workers at once: see `InferenceWorker.close`. */
  async close(timeout?: number): Promise<void> {
    await Promise.all(this.#slots.map(({ worker }) => worker.close(timeout)));
  }

  get #first(): PoolWorker {
    const [slot] = this.#slots;
    invariant(slot !== undefined, 'a pool has no worker');
    return slot.worker;
  }
}

/** Each worker costs memory, and the models of a test are small. */
function workersThatPay(runtime: InferenceRuntime, report: BackendReport): number {
  if (process.env.NODE_ENV === 'test' || !runtime.usesOneCore?.(report)) return 1;
  return workersFor(usableCpus());
}

function isUsable({ index, worker }: Slot, model: PooledModel): boolean {
  return worker.ready && model.isCurrentIn(index);
}

function byWork(one: Slot, other: Slot): number {
  return one.work - other.work || one.batches - other.batches || one.index - other.index;
}

/** Numbers of parts worth a try: 1, 2, 4, … and one for each free worker, if the parts are padded to less. */
function partsFor(free: number, count: number, sizes: BatchSizes): number[] {
  const most = Math.min(free, count);
  const powers = Array.from({ length: Math.ceil(Math.log2(most)) }, (_, i) => 2 ** i);
  const longest = (parts: number) => Math.max(...sizes.cut(count, parts).map(({ size }) => size));
  const whole = longest(1);
  return [...powers, most].filter((parts) => parts === 1 || longest(parts) < whole);
}

/** The first piece runs in the worker with the least work. */
function place(pieces: readonly BatchPiece[], slots: readonly Slot[]): PlacedPiece[] {
  return pieces.map((piece, i) => {
    const slot = slots[i % slots.length];
    invariant(slot !== undefined, 'a batch has no worker');
    return { ...piece, slot };
  });
}

function sum(one: BackendMemory, other: BackendMemory): BackendMemory {
  const { gpuBytes = 0, states = 0, stateBytes = 0 } = other;
  return {
    tensors: one.tensors + other.tensors,
    bytes: one.bytes + other.bytes,
    ...(one.gpuBytes === undefined ? {} : { gpuBytes: one.gpuBytes + gpuBytes }),
    ...(one.states === undefined ? {} : { states: one.states + states }),
    ...(one.stateBytes === undefined ? {} : { stateBytes: one.stateBytes + stateBytes }),
  };
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
