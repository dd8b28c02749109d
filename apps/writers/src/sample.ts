/**
 * Draws a token by its score.
 *
 * @param temperature 0: the token with the highest score; the higher, the more even the chances
 * @param chance a random number, at least 0 and less than 1
 */
export function sample(scores: Float32Array, temperature: number, chance: number): number {
  // Loops by index: an iterator, or a function that is called for each score, leaves kilobytes of garbage and takes ten
  // times as long, for each character of each text, on the main thread.
  const count = scores.length;
  let highest = -Infinity;
  for (let i = 0; i < count; i++) highest = Math.max(highest, scores[i] ?? NaN);
  if (temperature === 0) return scores.indexOf(highest);
  const weights = new Float64Array(count);
  let left = 0;
  for (let i = 0; i < count; i++) {
    const weight = Math.exp(((scores[i] ?? NaN) - highest) / temperature);
    weights[i] = weight;
    left += weight;
  }
  left *= chance;
  for (let i = 0; i < count; i++) {
    left -= weights[i] ?? NaN;
    if (left < 0) return i;
  }
  // Rounding may leave a rest behind the last weight.
  return count - 1;
}
