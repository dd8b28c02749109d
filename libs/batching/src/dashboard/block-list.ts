import type { EndedBatches } from './frame.js';

/** Most blocks between two frames: what a screen can still show. */
const MOST_BLOCKS = 64;

/** Batches of one slot that ran one after another, or a single one. */
interface Block {
  readonly id: number;
  readonly slot: number;
  readonly start: number;
  end: number;
  waited: number;
  size: number;
  readonly reasons: [number, number, number, number];
  errors: number;
  count: number;
  ran: number;
}

export type Ended = Pick<Block, 'id' | 'slot' | 'start' | 'waited' | 'size' | 'errors' | 'ran'> & {
  readonly reason: number;
};

/**
 * The batches that have ended since the last frame: each by itself, or, once they are too many, those of each slot joined
 * that began within the same few milliseconds. So memory and frames have a bound at any rate.
 */
export class BlockList {
  #blocks: Block[] = [];
  /** Milliseconds within which batches are joined; 0 while none are. */
  #step = 0;

  add({ reason, ran, ...ended }: Ended): void {
    const reasons: Block['reasons'] = [0, 0, 0, 0];
    reasons[reason] = 1;
    const block = { ...ended, end: ended.start + ran, reasons, count: 1, ran };
    if (this.#step === 0 || !this.#join(block)) this.#blocks.push(block);
    while (this.#blocks.length > MOST_BLOCKS) this.#thin();
  }

  /** @returns the blocks, in the order in which they ended; none of them comes again */
  take(): EndedBatches[] {
    const taken = this.#blocks.map(toTuple);
    this.#blocks = [];
    this.#step = 0;
    return taken;
  }

  /** Joins the block to the last one of its slot, if both began within one step. */
  #join(block: Block): boolean {
    const last = this.#blocks.findLast(({ slot }) => slot === block.slot);
    if (!last || Math.floor(last.start / this.#step) !== Math.floor(block.start / this.#step)) return false;
    last.end = Math.max(last.end, block.end);
    last.waited = Math.max(last.waited, block.waited);
    last.size += block.size;
    last.errors += block.errors;
    last.count += block.count;
    last.ran += block.ran;
    block.reasons.forEach((count, reason) => (last.reasons[reason] = (last.reasons[reason] ?? 0) + count));
    return true;
  }

  #thin(): void {
    this.#step = Math.max(1, 2 * this.#step);
    const all = this.#blocks;
    this.#blocks = [];
    for (const block of all) if (!this.#join(block)) this.#blocks.push(block);
  }
}

function toTuple({ id, slot, start, end, waited, size, reasons, errors, count, ran }: Block): EndedBatches {
  const reason = reasons.indexOf(Math.max(...reasons));
  return [id, slot, round(start), round(end - start), round(waited), size, reason, errors, count, round(ran)];
}

/** To 10 µs, which a frame has room for. */
export function round(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}
