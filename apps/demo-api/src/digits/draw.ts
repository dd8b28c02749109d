/** Draws `count` of the items, none twice; the same seed draws the same ones. */
export function draw<T>(items: readonly T[], count: number, seed: number): T[] {
  const rest = [...items];
  const random = randomNumbers(seed);
  return Array.from({ length: Math.min(count, items.length) }, () => {
    const [drawn] = rest.splice(Math.floor(random() * rest.length), 1);
    return drawn as T;
  });
}

/** Numbers from 0 (included) to 1 (excluded), the same ones for the same seed: Tommy Ettinger's generator mulberry32. */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
