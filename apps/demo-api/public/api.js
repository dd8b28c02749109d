// @ts-check

/** @typedef {{ batch: number, size: number, place: number, reason: Reason, waited: number, ran: number }} Journey */
/** @typedef {'size' | 'delay' | 'idle' | 'drain'} Reason why a batch left */
/** @typedef {{ digit: number, confidence: number, scores: number[], journey: Journey }} Digit */
/** @typedef {'oneByOne' | 'batched'} LaneName */
/** @typedef {{ batchSize: number, digits: number, rate: number, meanBatch: number, read: number[] }} Lane */
/** @typedef {{ callers: number, time: number, step: number, oneByOne: Lane, batched: Lane, ratio: number }} RaceResult */
/** @typedef {{ lane: LaneName, elapsed: number, time: number, digits: number }} RaceProgress */
/** @typedef {{ pixels: number[], label: number }} Sample */
/** @typedef {{ done: number, total: number }} Progress in tiles */
/** @typedef {{ across: number[], down: number[] }} Grid where tiles begin and the last ones end, in pixels of the enlarged photo */
/** @typedef {{ left: number, top: number, jpeg: string, journey: { batch: number, size: number, place: number } }} Tile */

/**
 * Reads the digit in a PNG, JPEG, WebP or GIF picture.
 * @param {Blob} picture
 * @param {AbortSignal} signal
 * @returns {Promise<Digit>}
 */
export function readPicture(picture, signal) {
  return ask('/digits?journey=true', {
    method: 'POST',
    headers: { 'Content-Type': picture.type },
    body: picture,
    signal,
  });
}

/**
 * Reads the digits in many images, given as 784 numbers each: one alone, or several with one request.
 * @param {number[][]} images
 * @param {AbortSignal} signal
 * @returns {Promise<Digit[]>}
 */
export async function readImages(images, signal) {
  if (images.length > 1) return ask('/digits/many?journey=true', json({ images }, signal));
  return [await ask('/digits?journey=true', json({ pixels: images[0] }, signal))];
}

/**
 * Draws real test digits; the same seed draws the same ones.
 * @param {number} count at most 1000
 * @param {number} seed
 * @param {AbortSignal} signal
 * @returns {Promise<Sample[]>}
 */
export function drawSamples(count, seed, signal) {
  return ask(`/digits/samples?count=${count}&seed=${seed}`, { signal });
}

/**
 * Has one by one race against batched, on the server.
 * @param {number} callers
 * @param {AbortSignal} signal
 * @param {(progress: RaceProgress) => void} onProgress
 * @returns {Promise<RaceResult>}
 */
export async function race(callers, signal, onProgress) {
  const response = await call(`/race?callers=${callers}`, { method: 'POST', signal });
  /** @type {RaceResult | undefined} */
  let result;
  await readEvents(response, (event, data) => {
    if (event === 'progress') onProgress(data);
    else if (event === 'result') result = data;
    else throw errorOf(data);
  });
  if (result) return result;
  throw new Error('The server ended before the race was over.');
}

/** @returns {Promise<{ backend: string, device: string }>} where the networks run */
export function whereItRuns() {
  return ask('/health/ready');
}

/**
 * Doubles the sides of a PNG, JPEG, WebP or GIF picture.
 * @param {Blob} photo
 * @param {AbortSignal} signal
 * @param {object} listener
 * @param {(grid: Grid) => void} listener.onGrid called at the beginning
 * @param {(tile: Tile) => void} listener.onTile called with each tile
 * @param {(progress: Progress) => void} listener.onProgress called at the beginning, and after each tile
 * @returns {Promise<Blob>} a PNG
 */
export async function upscale(photo, signal, { onGrid, onTile, onProgress }) {
  const headers = { 'Content-Type': photo.type, Accept: 'text/event-stream' };
  const response = await call('/photos/upscale?tiles=true', { method: 'POST', headers, body: photo, signal });
  /** @type {Blob | undefined} */
  let picture;
  await readEvents(response, (event, data) => {
    if (event === 'progress') onProgress(data);
    else if (event === 'grid') onGrid(data);
    else if (event === 'tile') onTile(data);
    else if (event === 'picture') picture = pngOf(data.png);
    else throw errorOf(data);
  });
  if (picture) return picture;
  throw new Error('The server ended before the picture was done.');
}

/**
 * @param {object} body
 * @param {AbortSignal} signal
 */
function json(body, signal) {
  const headers = { 'Content-Type': 'application/json' };
  return { method: 'POST', headers, body: JSON.stringify(body), signal };
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
    throw new UnreachableError(error);
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => undefined)) ?? {};
  throw errorOf({ message: `The server answered ${response.status} ${response.statusText}.`, ...body });
}

/**
 * What the server's errors are for people: its messages name bytes, spots and media types, for programs.
 * @type {Record<string, (details: any) => string>}
 */
const sentences = {
  ERR_BODY_TYPE: () => 'That is no PNG, JPEG, WebP or GIF picture.',
  ERR_PICTURE_FORMAT: () => 'That is no PNG, JPEG, WebP or GIF picture.',
  ERR_PICTURE_EMPTY: () => 'That file is empty.',
  ERR_PICTURE_TOO_LARGE: ({ limit }) => `That picture is too large: it may have at most ${limit} pixels.`,
  ERR_PICTURE_BROKEN: () => 'That picture is damaged and cannot be opened.',
  ERR_PICTURE_SCANS: () => 'That JPEG is built in an unusual way. Save it again and try once more.',
  ERR_PICTURE_TOO_SLOW: () => 'That picture takes too long to open. Try a smaller one.',
  ERR_PICTURE_BLANK: () => 'No single digit stands out in that picture.',
  ERR_BODY_TOO_LARGE: ({ limit }) => `That file is too large: at most ${Math.floor(limit / 1e6)} MB.`,
  ERR_RACE_RUNNING: ({ seconds }) =>
    `Another visitor's race is being measured. Try again in ${seconds === 1 ? 'a second' : `${seconds} seconds`}.`,
  ERR_BATCHING_FULL: () => 'The server has too much to do already. Try again in a moment.',
  ERR_BATCHING_DEADLINE: () => 'The server has too much to do already. Try again in a moment.',
  ERR_BATCHING_TIMEOUT: () => 'The server took too long. Try again in a moment.',
  ERR_STOPPING: () => 'The server is shutting down.',
};

/** @param {{ message: string, code?: string, details?: any }} body */
function errorOf({ message, code, details }) {
  const sentence = code && Object.hasOwn(sentences, code) ? sentences[code](details) : message;
  return new ApiError(sentence, code, details);
}

/** The server is not there, or the network is not. */
export class UnreachableError extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super('The server cannot be reached. Is it still running?', { cause });
  }
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
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === 'AbortError' ? error : new UnreachableError(error);
    });
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
