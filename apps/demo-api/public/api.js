// @ts-check

/** @typedef {{ digit: number, confidence: number, scores: number[] }} Digit */
/** @typedef {{ pixels: number[], label: number }} Sample */
/** @typedef {{ done: number, total: number }} Progress in tiles */

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

/**
 * Doubles the sides of a PNG or JPEG picture.
 * @param {Blob} photo
 * @param {AbortSignal} signal
 * @param {(progress: Progress) => void} onProgress called at the beginning, and after each tile
 * @returns {Promise<Blob>} a PNG
 */
export async function upscale(photo, signal, onProgress) {
  const headers = { 'Content-Type': photo.type, Accept: 'text/event-stream' };
  const response = await call('/photos/upscale', { method: 'POST', headers, body: photo, signal });
  /** @type {Blob | undefined} */
  let picture;
  await readEvents(response, (event, data) => {
    if (event === 'progress') onProgress(data);
    else if (event === 'picture') picture = pngOf(data.png);
    else throw new ApiError(data.message, data.code, data.details);
  });
  if (picture) return picture;
  throw new Error('The server ended before the picture was done.');
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
  return (await call(path, init)).json();
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} an answer that is none of an error; rejects with an error whose message can be shown
 */
async function call(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init?.signal?.aborted) throw error;
    throw new Error('The server cannot be reached. Is it still running?', { cause: error });
  }
  if (response.ok) return response;
  const { message, code, details } = (await response.json().catch(() => undefined)) ?? {};
  // The server's message names media types, for programs; here a person has chosen a file.
  if (code === 'ERR_BODY_TYPE') throw new ApiError('That is no PNG or JPEG picture.', code, details);
  throw new ApiError(
    message ?? `The server answered ${response.status} ${response.statusText}.`,
    code,
    details,
  );
}

/** What the server said about a request that it did not fulfil. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {string} [code] what it was, for programs
   * @param {any} [details] what else there is to know
   */
  constructor(message, code, details) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/**
 * Server-sent events of an answer to a POST, which an EventSource cannot send.
 * @param {Response} response
 * @param {(event: string, data: any) => void} tell
 */
async function readEvents(response, tell) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const piece = decoder.decode(value, { stream: true });
    text += piece;
    // A picture comes in many pieces, none of which has an end of line but the last.
    if (!piece.includes('\n')) continue;
    const events = text.split('\n\n');
    text = events.pop() ?? '';
    for (const event of events) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event) ?? [];
      tell(name, JSON.parse(data));
    }
  }
}

/** @param {string} base64 */
function pngOf(base64) {
  return new Blob([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], { type: 'image/png' });
}
