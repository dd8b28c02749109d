// @ts-check

/** @typedef {{ digit: number, confidence: number, scores: number[] }} Digit */
/** @typedef {{ pixels: number[], label: number }} Sample */

/**
 * Reads the digit in a PNG or JPEG picture.
 * @param {Blob} picture
 * @param {AbortSignal} signal
 * @returns {Promise<Digit>}
 */
export function readPicture(picture, signal) {
  return ask('/digits', { method: 'POST', headers: { 'Content-Type': picture.type }, body: picture, signal });
}

/**
 * Reads the digits in many images, given as 784 numbers each: one alone, or several with one request.
 * @param {number[][]} images
 * @returns {Promise<Digit[]>}
 */
export async function readImages(images) {
  if (images.length > 1) return ask('/digits/many', json({ images }));
  return [await ask('/digits', json({ pixels: images[0] }))];
}

/**
 * Draws real test digits; the same seed draws the same ones.
 * @param {number} count at most 1000
 * @param {number} seed
 * @returns {Promise<Sample[]>}
 */
export function drawSamples(count, seed) {
  return ask(`/digits/samples?count=${count}&seed=${seed}`);
}

/** @param {object} body */
function json(body) {
  return { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<any>} the answer; rejects with an error whose message can be shown
 */
async function ask(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init?.signal?.aborted) throw error;
    throw new Error('The server cannot be reached. Is it still running?', { cause: error });
  }
  const answer = await response.json().catch(() => undefined);
  if (response.ok) return answer;
  throw new Error(answer?.message ?? `The server answered ${response.status} ${response.statusText}.`);
}
