import type { EndedBatches, Frame, QueueFrame, StartedBatch } from '../frame.js';

/** Milliseconds of past that are kept, as far back as is shown. */
export const PAST = 21_000;

/** A batch, or batches of one slot that are shown as one block. */
export interface Block {
  readonly id: number;
  readonly slot: number;
  readonly start: number;
  /** `Infinity` while it runs. */
  readonly end: number;
  readonly waited: number;
  readonly size: number;
  readonly reason: number;
  readonly errors: number;
  readonly count: number;
  readonly ran: number;
}

/** What is known of one queue. */
export interface QueueHistory {
  readonly key: string;
  latest: QueueFrame;
  /** Batches that have ended, in this order. */
  ended: Block[];
  started: Block[];
  /** Inputs that waited, over time. */
  waiting: { readonly at: number; readonly count: number }[];
}

/** All that frames have told so far. A frame that comes twice counts once. */
export class Histories {
  readonly queues = new Map<string, QueueHistory>();
  /** The latest frame. */
  frame: Frame | undefined;

  /** @returns whether it was new */
  apply(frame: Frame): boolean {
    const isSameProcess = frame.epoch === this.frame?.epoch;
    if (isSameProcess && frame.number <= (this.frame?.number ?? 0)) return false;
    if (!isSameProcess) this.queues.clear();
    this.frame = frame;
    for (const queue of frame.queues) this.#applyQueue(queue, frame);
    return true;
  }

  #applyQueue(queue: QueueFrame, { isWhole, now }: Frame): void {
    const key = `${queue.node} ${queue.name}`;
    let history = this.queues.get(key);
    if (!history) {
      history = { key, latest: queue, ended: [], started: [], waiting: [] };
      this.queues.set(key, history);
    }
    const ended = queue.ended.map(toBlock);
    history.latest = queue;
    // A whole frame takes the place of all that came before, so nothing is there twice.
    history.ended = isWhole ? ended : [...history.ended.filter(({ end }) => end >= now - PAST), ...ended];
    history.started = queue.started.map(toRunningBlock);
    history.waiting = history.waiting.filter(({ at }) => at >= now - PAST);
    history.waiting.push({ at: now, count: queue.waiting });
  }
}

/** A copy that does not change, to look at while more comes. */
export function freeze(history: QueueHistory): QueueHistory {
  return { ...history, waiting: [...history.waiting] };
}

/** Inputs that waited at that moment. */
export function waitingAt({ waiting }: QueueHistory, time: number): number {
  return waiting.findLast(({ at }) => at <= time)?.count ?? 0;
}

function toBlock([id, slot, start, took, waited, size, reason, errors, count, ran]: EndedBatches): Block {
  return { id, slot, start, end: start + took, waited, size, reason, errors, count, ran };
}

function toRunningBlock([id, slot, start, waited, size, reason]: StartedBatch): Block {
  return { id, slot, start, end: Infinity, waited, size, reason, errors: 0, count: 1, ran: 0 };
}

/** The server's time, from the frame that came with the least delay. */
export class ServerClock {
  #offsets: number[] = [];

  /** @param received when the frame was received, by the page's clock */
  update(now: number, received: number): void {
    this.#offsets.push(now - received);
    if (this.#offsets.length > 25) this.#offsets.shift();
  }

  restart(): void {
    this.#offsets = [];
  }

  at(pageTime: number): number {
    return pageTime + Math.max(...this.#offsets);
  }
}
