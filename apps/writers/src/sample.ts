/**
 * Draws a token by its score.
 *
 * @param temperature 0: the token with the highest score; the higher, the more even the chances
 * @param chance a random number, at least 0 and less than 1
 */
export function sample(scores: Float32Array, temperature: number, chance: number): number {
  const highest = Math.max(...scores);
  if (temperature === 0) return scores.indexOf(highest);
  const weights = Float64Array.from(scores, (score) => Math.exp((score - highest) / temperature));
  let left = chance * weights.reduce((sum, weight) => sum + weight, 0);
  const chosen = weights.findIndex((weight) => (left -= weight) < 0);
  // Rounding may leave a rest behind the last weight.
  return chosen === -1 ? scores.length - 1 : chosen;
}
