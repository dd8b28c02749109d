/** A part of the inputs that runs as one batch: `count` of them from `start`, padded to `size`. */
export interface BatchPiece {
  start: number;
  count: number;
  size: number;
}

/** Sizes that run once at start-up if batches are padded to powers of two. */
const WARM_UP_POWERS = [1, 2, 4, 8, 16, 32, 64];

/**
 * The sizes that batches are padded to. Some devices prepare work for each shape (compile a pipeline, choose
 * an algorithm, keep buffers); with few sizes they do that a few times, at start-up.
 */
export class BatchSizes {
  readonly #allowed: readonly number[];
  readonly #padded: boolean;

  /**
   * @param allowed the configured sizes; a batch above the largest runs in pieces
   * @param padded whether batches are padded to powers of two, of any size, if `allowed` is not given
   */
  constructor(allowed: readonly number[] | undefined, padded: boolean) {
    this.#allowed = (allowed ?? []).toSorted((a, b) => a - b);
    this.#padded = padded;
  }

  /** The sizes to run once at start-up, the smallest first. */
  get warmUp(): readonly number[] {
    if (this.#allowed.length > 0) return this.#allowed;
    return this.#padded ? WARM_UP_POWERS : [];
  }

  /**
   * Divides `count` inputs into pieces, each padded to an allowed size.
   *
   * @param parts number of pieces to aim at: pieces are of equal size, except for the last. Default 1
   */
  cut(count: number, parts = 1): BatchPiece[] {
    const largest = Math.min(this.#allowed.at(-1) ?? count, Math.ceil(count / parts));
    const pieces: BatchPiece[] = [];
    for (let start = 0; start < count; start += largest) {
      const rest = Math.min(largest, count - start);
      pieces.push({ start, count: rest, size: this.#sizeFor(rest) });
    }
    return pieces;
  }

  #sizeFor(count: number): number {
    if (this.#allowed.length > 0) return this.#allowed.find((size) => size >= count) ?? count;
    return this.#padded ? 2 ** Math.ceil(Math.log2(count)) : count;
  }
}

/**
 * @param subject how messages name the option
 * @throws {RangeError} unless they are a non-empty array of integers ≥ 1
 */
export function checkBatchSizes(subject: string, sizes: readonly number[] | undefined): void {
  if (sizes === undefined) return;
  if (
    !Array.isArray(sizes) ||
    sizes.length === 0 ||
    !sizes.every((size) => Number.isSafeInteger(size) && Number(size) >= 1)
  ) {
    throw new RangeError(
      `${subject} must be whole numbers from 1, at least one of them; they are ${JSON.stringify(sizes)}`,
    );
  }
}
