import type { BatchQueue } from '../core/batch-queue.js';
import type { BatchReport, QueueStats } from '../core/stats.js';
import { capacityFor, leastAim, type Replica } from './capacity.js';
import { RecentLoad } from './recent-load.js';
import { RunTimes } from './run-times.js';

/** Weight of a new batch in the mean size of full ones. */
const WEIGHT = 0.05;

/** Inputs of a queue that wait in a broker, and the number of nodes that will take them. */
export interface Backlog {
  readonly waiting: number;
  readonly nodes: number;
}

/** What one queue could do, from its reports, and what it has to do, from its counts. */
export class QueueMeter {
  readonly #runTimes = new RunTimes();
  readonly #load: RecentLoad;
  /** Mean size of batches that could not become fuller: costs, groups and bounds may end them below `batchSize`. */
  #fullSize: number | undefined;
  /** The settings that bound a full batch, as they were last read. */
  #bounds: string | undefined;
  /** Batches to come that may have left before the bounds were changed. */
  #outdated = 0;
  /** Inputs waiting in the broker when that was last known. */
  #waiting: number | undefined;
  /** This replica's share of those that have come there since, less what was taken. */
  #piledUp = 0;

  constructor(window: number, now: number) {
    this.#load = new RecentLoad(window, now);
  }

  /** Learns from a batch. One that failed as a whole may have ended early, and says nothing. */
  record(report: BatchReport): void {
    const { size, ran, reason } = report;
    if (!('error' in report)) this.#runTimes.record(size, ran);
    if (this.#outdated > 0) this.#outdated--;
    else if (reason === 'size') this.#fullSize = (this.#fullSize ?? size) * (1 - WEIGHT) + size * WEIGHT;
  }

  /**
   * @param backlog what waits for the queue in a broker, if this replica serves it from there and that is known
   * @param aim milliseconds for the p99; without one, no replicas are computed
   * @returns shares and replicas, as far as they are known, and `leastAim` where the aim cannot be held
   */
  read(
    queue: BatchQueue<unknown, unknown>,
    stats: QueueStats,
    backlog: Backlog | undefined,
    aim: number | undefined,
    now: number,
  ): { utilization?: number; replicas?: number; leastAim?: number } {
    const { submitted, coalesced, blocked } = stats;
    this.#noteBacklog(backlog);
    // A caller that joined another's input adds no work; one that is blocked, or waits in a broker, is submitted
    // later.
    const arrived = submitted - coalesced + blocked + this.#piledUp;
    const ran = queue.totals('runTime', []).sum + underway(queue, now);
    const load = this.#load.read({ arrived, ran }, now);
    this.#noteBounds(stats);
    const { concurrency } = stats.options;
    // Without a limit of slots nothing here says how much a replica can do.
    if (!load || concurrency === Infinity) return {};
    const utilization = Math.min(1, Math.max(0, load.running / concurrency));
    const replica = this.#replica(stats);
    if (aim === undefined || !replica) return { utilization };
    const least = leastAim(replica);
    return {
      utilization,
      replicas: Math.max(0, load.rate) / capacityFor(aim, replica),
      ...(aim < least ? { leastAim: least } : {}),
    };
  }

  /** Counts changes, not what waits: that came before this replica, or was shared by fewer, has not arrived now. */
  #noteBacklog(backlog: Backlog | undefined): void {
    if (backlog && this.#waiting !== undefined) {
      this.#piledUp += (backlog.waiting - this.#waiting) / backlog.nodes;
    }
    this.#waiting = backlog?.waiting;
  }

  /** A full batch of the settings before says nothing of one of the present settings. */
  #noteBounds({ options: { batchSize, maxQueued }, runningBatches }: QueueStats): void {
    const bounds = `${batchSize} ${maxQueued}`;
    const isNew = this.#bounds !== undefined && bounds !== this.#bounds;
    this.#bounds = bounds;
    if (!isNew) return;
    this.#fullSize = undefined;
    this.#outdated = runningBatches;
  }

  #replica({ options }: QueueStats): Replica | undefined {
    const { curve } = this.#runTimes;
    const { batchSize, concurrency, dispatch, maxDelay } = options;
    if (!curve) return undefined;
    return {
      curve,
      batchSize: Math.max(1, Math.min(batchSize, this.#fullSize ?? Infinity)),
      concurrency,
      delay: dispatch === 'fixed' ? maxDelay : 0,
    };
  }
}

/** Milliseconds for which the batches have run that run now: one may take longer than rates are taken over. */
function underway(queue: BatchQueue<unknown, unknown>, now: number): number {
  let sum = 0;
  const unwatch = queue.watch({
    left: ({ leftAt }) => (sum += Math.max(0, now - leftAt)),
    ended: () => undefined,
  });
  unwatch();
  return sum;
}
