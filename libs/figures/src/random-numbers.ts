/**
 * A generator of pseudo-random numbers, not for secrets: Tommy Ettinger's mulberry32.
 *
 * @param seed an integer, of which the lower 32 bits count; the same seed gives the same numbers
 * @returns a function that returns the next number, at least 0 and less than 1
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
