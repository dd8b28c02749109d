import type { BatchQueue } from '../core/batch-queue.js';
import type { QueueStats } from '../core/stats.js';
import type { BatchObserver, ObservedBatch } from '../core/watch.js';
import { BlockList, round } from './block-list.js';
import {
  type EndedBatches,
  type Knobs,
  type QueueFrame,
  REASONS,
  type Settings,
  type StartedBatch,
} from './frame.js';
import { type Totals, Window } from './window.js';

/** Milliseconds of past that a viewer who comes anew is shown: as far back as the page shows. */
const PAST = 21_000;
/** Blocks of it, at most. */
const MOST_OF_PAST = 1000;
/** Rows of a timeline, at most; batches in further slots are counted and not drawn. */
const MOST_SLOTS = 16;

interface Running {
  readonly slot: number;
  readonly waits: readonly number[];
}

/** Follows one queue while it is watched. */
export class QueueRecorder implements BatchObserver {
  readonly #running = new Map<ObservedBatch, Running>();
  readonly #slots = new Slots();
  readonly #blocks = new BlockList();
  /** Of the last frame, and of those before it. */
  #ended: EndedBatches[] = [];
  #past: EndedBatches[] = [];
  readonly #window: Window;
  readonly #busy: BusyTime;
  readonly #stop: () => void;
  /** At the last frame. */
  #stats: QueueStats;
  #settings: string;
  #activity = '';

  /**
   * @param node name of the process or machine
   * @param initial settings at the start of the process
   */
  constructor(
    private readonly queue: BatchQueue<unknown, unknown>,
    private readonly node: string,
    private readonly initial: Knobs | null,
    now: number,
  ) {
    this.#stats = queue.stats();
    this.#busy = new BusyTime(now);
    this.#window = new Window(now, this.#totals(now));
    this.#settings = JSON.stringify(settingsOf(this.#stats));
    this.#stop = queue.watch(this);
  }

  /** Stops watching. */
  close(): void {
    this.#stop();
  }

  left(batch: ObservedBatch): void {
    const waits: number[] = [];
    for (let input: ObservedBatch['first'] | undefined = batch.first; input; input = input.next) {
      waits.push(batch.leftAt - input.turn.at);
    }
    this.#busy.add(1, batch.leftAt);
    this.#running.set(batch, { slot: this.#slots.take(batch.leftAt), waits });
  }

  ended(batch: ObservedBatch, ran: number): void {
    const running = this.#running.get(batch);
    if (!running) return;
    this.#running.delete(batch);
    const { number, size, results, aborted, leftAt, oldest } = batch;
    const { slot, waits } = running;
    const reason = REASONS.indexOf(batch.reason);
    this.#busy.add(-1, leftAt + ran);
    this.#slots.free(slot);
    this.#window.record({ leftAt, size, results, aborted, reason, waits, ran });
    if (slot >= MOST_SLOTS) return;
    const errors = size - results - aborted;
    this.#blocks.add({ id: number, slot, start: leftAt, waited: leftAt - oldest, size, reason, errors, ran });
  }

  /** Moves on to the next frame. @returns whether there is something new to show */
  advance(now: number): boolean {
    const stats = this.queue.stats();
    this.#stats = stats;
    const settings = JSON.stringify(settingsOf(stats));
    if (settings !== this.#settings) {
      this.#settings = settings;
      this.#window.restart(now, this.#totals(now));
    }
    this.#window.advance(now, this.#totals(now));
    this.#keep(now);
    const { submitted, dropped, waiting, running, blocked, batches, runningBatches, state } = stats;
    const counts = [submitted, dropped, waiting, running, blocked, batches, runningBatches];
    const activity = [...counts, this.#ended.length, state, settings].join();
    const isNew = activity !== this.#activity;
    this.#activity = activity;
    return isNew;
  }

  /** @param isWhole with the batches of the last seconds, or else those since the frame before */
  frame(now: number, isWhole: boolean): QueueFrame {
    const { name, state, options, waiting, blocked, running, runningBatches } = this.#stats;
    return {
      node: this.node,
      name,
      sentTo: nodesOf(this.#stats),
      state,
      settings: settingsOf(this.#stats),
      initial: this.initial,
      slots: this.#slots.count(now, options.concurrency),
      waiting: waiting + blocked,
      running,
      runningBatches,
      started: this.#started(),
      ended: isWhole ? [...this.#past.slice(-MOST_OF_PAST), ...this.#ended] : this.#ended,
      figures: this.#window.figures(now, this.#totals(now), options.concurrency),
    };
  }

  /** Takes what has ended since the last frame, and forgets what is long past. */
  #keep(now: number): void {
    const isPast = ([, , start, took]: EndedBatches) => start + took >= now - PAST;
    this.#past.push(...this.#ended);
    if (this.#past[0] && !isPast(this.#past[0])) this.#past = this.#past.filter(isPast);
    if (this.#past.length > 2 * MOST_OF_PAST) this.#past = this.#past.slice(-MOST_OF_PAST);
    this.#ended = this.#blocks.take();
  }

  #started(): StartedBatch[] {
    return Array.from(this.#running, ([batch, { slot }]): StartedBatch => {
      const { number, leftAt, oldest, size, reason } = batch;
      return [number, slot, round(leftAt), round(leftAt - oldest), size, REASONS.indexOf(reason)];
    }).filter(([, slot]) => slot < MOST_SLOTS);
  }

  #totals(now: number): Totals {
    return { drops: this.#stats.drops, busy: this.#busy.until(now) };
  }
}

/** The knobs of a queue as they are now. */
export function knobsOf({ options }: QueueStats): Knobs {
  const { batchSize, maxDelay, dispatch } = options;
  return { batchSize: finite(batchSize), maxDelay: finite(maxDelay), dispatch };
}

function settingsOf(stats: QueueStats): Settings {
  const { concurrency, maxQueued } = stats.options;
  return { ...knobsOf(stats), concurrency: finite(concurrency), maxQueued: finite(maxQueued) };
}

/** What a queue has in its statistics whose inputs are sent to other nodes. */
function nodesOf(stats: QueueStats & { remote?: { nodes: readonly { node: string }[] } }): string[] | null {
  return stats.remote?.nodes.map(({ node }) => node) ?? null;
}

function finite(value: number): number | null {
  return value === Infinity ? null : value;
}

/** Gives each batch that leaves the lowest slot that is free. */
class Slots {
  readonly #taken: boolean[] = [];
  /** When each of them was last taken. */
  readonly #takenAt: number[] = [];

  take(now: number): number {
    const free = this.#taken.indexOf(false);
    const slot = free === -1 ? this.#taken.length : free;
    this.#taken[slot] = true;
    this.#takenAt[slot] = now;
    return slot;
  }

  free(slot: number): void {
    this.#taken[slot] = false;
  }

  /** How many are drawn: `concurrency`, or as many as have been in use lately. */
  count(now: number, concurrency: number): number {
    const isUsed = (at: number, slot: number) => this.#taken[slot] === true || at >= now - PAST;
    const used = this.#takenAt.findLastIndex(isUsed) + 1;
    return Math.min(MOST_SLOTS, Math.max(1, used, concurrency <= MOST_SLOTS ? concurrency : 1));
  }
}

/** The integral of the number of batches that run. */
class BusyTime {
  #running = 0;
  #sum = 0;

  constructor(private at: number) {}

  add(change: 1 | -1, now: number): void {
    this.#sum = this.until(now);
    this.at = Math.max(this.at, now);
    this.#running += change;
  }

  until(now: number): number {
    return this.#sum + this.#running * Math.max(0, now - this.at);
  }
}
