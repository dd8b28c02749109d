import { abortReason, onAbort } from '../core/abort-listener.js';
import { BatchQueue } from '../core/batch-queue.js';
import { checkMilliseconds } from '../core/checks.js';
import { LONGEST_TIMER } from '../core/clock.js';
import { RecentDistribution, type Summary } from '../core/distribution.js';
import { Drains, type Epoch } from '../core/drains.js';
import {
  BatchingError,
  BatchTimeoutError,
  brand,
  QueueFullError,
  ServiceStoppedError,
  TooManyInputsError,
} from '../core/errors.js';
import { NumberTable } from '../core/number-table.js';
import {
  type BatchOptions,
  checkSubmitOptions,
  type StopOptions,
  type SubmitOptions,
} from '../core/options.js';
import type { DropReason, QueueState, QueueStats } from '../core/stats.js';
import type { ServiceState, Transport } from '../transport/transport.js';
import type { TracePropagation } from './module-options.js';

/** A setting of a queue that only the nodes that serve it have, read or set on a node that calls it. */
export class RemoteQueueError extends BatchingError {
  static {
    brand(this, 'RemoteQueueError');
  }

  readonly code = 'ERR_BATCHING_REMOTE_QUEUE';

  constructor(
    /** Name of the queue. */
    readonly queue: string,
    what: string,
  ) {
    super(
      `${what} of ${queue} belongs to the nodes that serve it; here, where its calls are sent, only maxQueued can be set`,
    );
  }
}

/** The statistics of a queue whose inputs are sent to other nodes. `running`: sent, and not answered yet. */
export interface RemoteQueueStats extends QueueStats {
  /** The service as this node knows it: who serves it, what waits in the broker. */
  remote: ServiceState & {
    /** Milliseconds from the call to its answer, in the last one to two minutes. */
    roundTrip: Summary;
  };
}

/** A caller that waits until there is room (`onFull: 'wait'`). */
interface Blocked {
  enter(): void;
  drop(reason: DropReason, error: Error): void;
}

/** An input that was sent and is not answered yet. */
interface Flight {
  readonly number: number;
  readonly epoch: Epoch;
  readonly reject: (error: unknown) => void;
}

/**
 * The sending side of a queue: sends each input to a node that serves it, where it is batched. `maxQueued` bounds
 * the inputs sent and not answered. It has no batches of its own: `onBatch` listeners are never called.
 */
export class RemoteQueue<Input, Result> extends BatchQueue<Input, Result> {
  /** @internal */
  override readonly hasBatches = false;
  #state: QueueState = 'started';
  readonly #waits: boolean;
  readonly #flights = new NumberTable<Flight>();
  #lastNumber = 0;
  readonly #blocked = new Set<Blocked>();
  readonly #drains = new Drains();
  readonly #counts = { results: 0, errors: 0 };
  readonly #drops: Record<DropReason, number> = { aborted: 0, timeout: 0, full: 0, stopped: 0 };
  readonly #roundTrips = new RecentDistribution(1000);
  #roundTrip = 0;
  #abortedWhileRunning = 0;

  constructor(
    options: BatchOptions,
    private readonly transport: () => Transport,
    private readonly trace: () => TracePropagation | undefined,
  ) {
    // The inherited queue never gets an input: it checks the options and shows them.
    super(() => [], { ...options, autoStart: false });
    this.#waits = options.onFull === 'wait';
  }

  override get batchSize(): number {
    return super.batchSize;
  }
  override set batchSize(_: number) {
    throw new RemoteQueueError(this.name, 'batchSize');
  }

  override get maxDelay(): number {
    return super.maxDelay;
  }
  override set maxDelay(_: number) {
    throw new RemoteQueueError(this.name, 'maxDelay');
  }

  override get concurrency(): number {
    return super.concurrency;
  }
  override set concurrency(_: number) {
    throw new RemoteQueueError(this.name, 'concurrency');
  }

  /** Inputs that may be sent and not answered yet. */
  override get maxQueued(): number {
    return super.maxQueued;
  }
  override set maxQueued(value: number) {
    super.maxQueued = value;
    this.#letIn();
  }

  /** @internal */
  override get abortedWhileRunning(): number {
    return this.#abortedWhileRunning;
  }

  /** None: what is sent is `running`. */
  override get waiting(): number {
    return 0;
  }

  override submit(input: Input, options?: SubmitOptions): Promise<Result> {
    if (this.#state !== 'started') return this.#refuse('stopped', new ServiceStoppedError(this.name));
    const { signal } = options ?? {};
    if (signal?.aborted) return this.#refuse('aborted', abortReason(signal) as Error);
    if (this.#flights.size < this.maxQueued && this.#blocked.size === 0) return this.#send(input, options);
    if (this.#waits) return this.#sendLater(input, options ?? {});
    return this.#refuse('full', new QueueFullError(this.name, this.maxQueued, Math.max(1, this.#roundTrip)));
  }

  override submitMany(inputs: Iterable<Input>, options?: SubmitOptions): Promise<Result>[] {
    const all = Array.from(inputs);
    const { name, maxQueued } = this;
    if (all.length <= maxQueued || this.#waits || this.#state !== 'started') {
      return all.map((input) => this.submit(input, options));
    }
    const error = new TooManyInputsError(name, all.length, maxQueued);
    return all.map(() => this.#refuse('full', error));
  }

  override start(): void {
    if (this.#state !== 'started') throw new ServiceStoppedError(this.name);
  }

  override drain(): Promise<void> {
    return this.#drains.drain();
  }

  override async stop({ timeout = Infinity, hard = false }: StopOptions = {}): Promise<void> {
    const limit = checkMilliseconds('timeout', timeout);
    if (this.#state !== 'stopped') this.#state = 'stopping';
    if (hard) this.#dropBlocked();
    const timer = limit <= LONGEST_TIMER ? setTimeout(this.#abandon, limit) : undefined;
    await this.drain();
    clearTimeout(timer);
    this.#state = 'stopped';
  }

  override stats(): RemoteQueueStats {
    const { results, errors } = this.#counts;
    const { aborted, timeout, full, stopped } = this.#drops;
    const settled = results + errors;
    const dropped = aborted + timeout + full + stopped;
    const running = this.#flights.size;
    const known = this.transport()
      .state()
      .services.find(({ service }) => service === this.name);
    return {
      ...super.stats(),
      state: this.#state,
      submitted: settled + dropped + running,
      settled,
      results,
      errors,
      dropped,
      drops: { ...this.#drops },
      running,
      blocked: this.#blocked.size,
      remote: {
        ...(known ?? { service: this.name, nodes: [], waiting: 0, redelivered: 0, calls: 0 }),
        roundTrip: this.#roundTrips.summarize(performance.now()),
      },
    };
  }

  #send(input: Input, options: SubmitOptions | undefined): Promise<Result> {
    return new Promise((resolve, reject) => {
      const at = performance.now();
      // First, as it is the user's and may throw.
      const carrier = this.trace()?.inject();
      const { current: epoch } = this.#drains;
      epoch.pending++;
      const flight: Flight = { number: ++this.#lastNumber, epoch, reject };
      this.#flights.add(flight.number, flight);
      this.transport()
        .call(this.name, input, carrier ? { ...options, trace: carrier } : options)
        .then(
          (result) => {
            this.#end(flight, 'results', at);
            resolve(result as Result);
          },
          (error: unknown) => {
            const { signal } = options ?? {};
            if (signal?.aborted && this.#flights.get(flight.number)) this.#abortedWhileRunning++;
            this.#end(flight, 'errors', at);
            // What a batch function throws need not be an Error.
            // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
            reject(error);
          },
        );
    });
  }

  /** Sends it when there is room, with what is left of its timeout then. */
  #sendLater(input: Input, options: SubmitOptions): Promise<Result> {
    return new Promise((resolve, reject) => {
      const { signal, timeout, priority } = options;
      checkSubmitOptions(signal, timeout, priority);
      const at = performance.now();
      let timer: NodeJS.Timeout | undefined;
      let unlisten: (() => void) | undefined;
      const leave = (): void => {
        this.#blocked.delete(blocked);
        clearTimeout(timer);
        unlisten?.();
      };
      const blocked: Blocked = {
        enter: () => {
          leave();
          const left =
            timeout === undefined ? {} : { timeout: Math.max(0, at + timeout - performance.now()) };
          resolve(this.#send(input, { ...options, ...left }));
        },
        drop: (reason, error) => {
          leave();
          this.#drops[reason]++;
          reject(error);
        },
      };
      if (signal) {
        unlisten = onAbort(signal, () => {
          blocked.drop('aborted', abortReason(signal) as Error);
        });
      }
      if (timeout !== undefined && timeout <= LONGEST_TIMER) {
        timer = setTimeout(() => {
          blocked.drop('timeout', new BatchTimeoutError(this.name, timeout, 'waiting'));
        }, timeout);
      }
      this.#blocked.add(blocked);
    });
  }

  #end(flight: Flight, outcome: 'results' | 'errors', at: number): void {
    if (!this.#flights.delete(flight.number)) return;
    const now = performance.now();
    this.#counts[outcome]++;
    this.#roundTrip += (now - at - this.#roundTrip) / 16;
    this.#roundTrips.record(now - at, 1, now);
    flight.epoch.end();
    this.#letIn();
  }

  #letIn(): void {
    for (const blocked of this.#blocked) {
      if (this.#flights.size >= this.maxQueued) return;
      blocked.enter();
    }
  }

  #refuse(reason: DropReason, error: Error): Promise<Result> {
    this.#drops[reason]++;
    return Promise.reject(error);
  }

  #dropBlocked(): void {
    for (const blocked of this.#blocked) {
      blocked.drop('stopped', new ServiceStoppedError(this.name, 'dropped this input'));
    }
  }

  /** The time limit of a stop has expired. */
  readonly #abandon = (): void => {
    this.#dropBlocked();
    for (const flight of this.#flights.values()) {
      this.#flights.delete(flight.number);
      this.#counts.errors++;
      flight.epoch.end();
      flight.reject(new ServiceStoppedError(this.name, 'did not wait for this batch'));
    }
  };
}
