/**
 * A generator of numbers from 0 (included) to 1 (excluded), not for secrets: Tommy Ettinger's mulberry32.
 *
 * @param seed the lower 32 bits of its whole part count; the same seed gives the same numbers
 */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
