import { draw } from './draw.js';
import { loadTestDigits } from './mnist.js';

/** Test digits, none twice, as numbers; the same seed draws the same ones. */
export async function drawSamples(
  count: number,
  seed: number,
): Promise<{ pixels: number[]; label: number }[]> {
  const digits = await loadTestDigits();
  return draw(digits, count, seed).map(({ pixels, label }) => ({ pixels: [...pixels], label }));
}
