import { randomNumbers } from '@app/figures';

/** Draws `count` of the items, none twice; the same seed draws the same ones. */
export function draw<T>(items: readonly T[], count: number, seed: number): T[] {
  const rest = [...items];
  const random = randomNumbers(seed);
  return Array.from({ length: Math.min(count, items.length) }, () => {
    const [drawn] = rest.splice(Math.floor(random() * rest.length), 1);
    return drawn as T;
  });
}
