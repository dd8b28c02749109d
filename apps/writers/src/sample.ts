/**
 * Draws a token by its score.
 *
 * @param temperature 0: the token with the highest score; the higher, the more even the chances
 * @param chance a random number, at least 0 and less than 1
 */
export function sample(scores: Float32Array, temperature: number, chance: number): number {
  let highest = -Infinity;
  for (const score of scores) highest = Math.max(highest, score);
  if (temperature === 0) return scores.indexOf(highest);
  // Loops: the methods of typed arrays call a function for each score, which takes five times as long. It is done for each
  // character of each text, on the main thread.
  const weights = new Float64Array(scores.length);
  let sum = 0;
  let token = 0;
  for (const score of scores) {
    const weight = Math.exp((score - highest) / temperature);
    weights[token++] = weight;
    sum += weight;
  }
  let left = chance * sum;
  token = 0;
  for (const weight of weights) {
    left -= weight;
    if (left < 0) return token;
    token++;
  }
  // Rounding may leave a rest behind the last weight.
  return scores.length - 1;
}
