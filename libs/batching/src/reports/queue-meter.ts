import type { BatchQueue } from '../core/batch-queue.js';
import type { BatchReport, QueueStats } from '../core/stats.js';
import { capacityFor, leastAim, type Replica } from './capacity.js';
import { RecentLoad } from './recent-load.js';
import { RunTimes } from './run-times.js';

/** Weight of a new batch in the mean size of full ones. */
const WEIGHT = 0.05;

/** What one queue could do, from its reports, and what it has to do, from its counts. */
export class QueueMeter {
  readonly #runTimes = new RunTimes();
  readonly #load: RecentLoad;
  /** Mean size of batches that could not become fuller: costs, groups and bounds may end them below `batchSize`. */
  #fullSize: number | undefined;

  constructor(window: number, now: number) {
    this.#load = new RecentLoad(window, now);
  }

  /** Learns from a batch. One that failed as a whole may have ended early, and says nothing. */
  record(report: BatchReport): void {
    const { size, ran, reason } = report;
    if (!('error' in report)) this.#runTimes.record(size, ran);
    if (reason === 'size') this.#fullSize = (this.#fullSize ?? size) * (1 - WEIGHT) + size * WEIGHT;
  }

  /**
   * @param elsewhere this replica's share of the inputs that wait for the queue in a broker
   * @param aim milliseconds for the p99; without one, no replicas are computed
   * @returns shares and replicas, as far as they are known, and `leastAim` where the aim cannot be held
   */
  read(
    queue: BatchQueue<unknown, unknown>,
    stats: QueueStats,
    elsewhere: number,
    aim: number | undefined,
    now: number,
  ): { utilization?: number; replicas?: number; leastAim?: number } {
    const { submitted, coalesced, blocked } = stats;
    // A caller that joined another's input adds no work; one that is blocked, or waits in a broker, is submitted
    // later.
    const arrived = submitted - coalesced + blocked + elsewhere;
    const load = this.#load.read({ arrived, ran: queue.totals('runTime', []).sum }, now);
    if (!load) return {};
    const { concurrency } = stats.options;
    const utilization =
      concurrency === Infinity ? {} : { utilization: Math.min(1, load.running / concurrency) };
    const replica = this.#replica(stats);
    if (aim === undefined || !replica) return utilization;
    const least = leastAim(replica);
    return {
      ...utilization,
      replicas: Math.max(0, load.rate) / capacityFor(aim, replica),
      ...(aim < least ? { leastAim: least } : {}),
    };
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
