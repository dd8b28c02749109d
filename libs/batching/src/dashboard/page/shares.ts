import type { Block } from './history.js';

/** Names, at most: there are colours and patterns for no more. */
export const MOST_SHARES = 4;

/** Whose the inputs of a batch are, which only the application knows. */
export interface Shares {
  /** 1 to 4 names, as they stand in "12 of photo 1". */
  readonly names: readonly string[];
  /**
   * Asked for each block, whenever the timeline is drawn.
   *
   * @param batch its number in its queue
   * @param node the process that ran it
   * @returns inputs of each name, in the order of `names`; none where nothing is known
   */
  of(batch: number, node: string): readonly number[] | undefined;
}

/** The inputs in a block that are of one name. */
export interface Share {
  readonly index: number;
  readonly name: string;
  readonly count: number;
}

/** @throws TypeError or RangeError if it is neither `undefined` nor what can be shown */
export function checkShares(value: unknown): Shares | undefined {
  if (value === undefined) return undefined;
  const { names, of } = (value ?? {}) as Partial<Record<keyof Shares, unknown>>;
  if (!Array.isArray(names) || typeof of !== 'function') {
    throw new TypeError(`shares: expected { names: string[], of: (batch, node) => number[] } or undefined`);
  }
  const isName = (name: unknown) => typeof name === 'string' && name !== '';
  if (!names.every(isName)) {
    throw new TypeError(`shares.names: expected strings that are not empty, got ${JSON.stringify(names)}`);
  }
  if (names.length < 1 || names.length > MOST_SHARES) {
    throw new RangeError(`shares.names: expected 1 to ${MOST_SHARES} names, got ${names.length}`);
  }
  return value as Shares;
}

/** The shares of a block, without those that are empty; no more inputs than it has. Several batches in one have none. */
export function sharesOf(shares: Shares | undefined, { id, size, count }: Block, node: string): Share[] {
  const counts = count === 1 ? shares?.of(id, node) : undefined;
  if (!shares || !counts) return [];
  let room = size;
  return shares.names.flatMap((name, index) => {
    const given = counts[index] ?? 0;
    const share = { index, name, count: given > 0 ? Math.min(room, given) : 0 };
    room -= share.count;
    return share.count > 0 ? [share] : [];
  });
}
