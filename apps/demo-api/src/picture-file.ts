import { ApiError, type ApiErrorOptions } from '@app/serving';
import { asBatchedService } from 'nest-batching';
import sharp, { type OutputInfo, type Sharp } from 'sharp';
import { structureOf } from './picture-structure.js';

/** What can be wrong with a picture, and the status that says so. */
const statuses = {
  ERR_PICTURE_EMPTY: 400,
  ERR_PICTURE_TOO_LARGE: 413,
  /** Of another format. */
  ERR_PICTURE_FORMAT: 422,
  ERR_PICTURE_SCANS: 422,
  ERR_PICTURE_TOO_SLOW: 422,
  ERR_PICTURE_BROKEN: 422,
  ERR_PICTURE_BLANK: 422,
};

/** A picture that cannot be used. The message says what was expected and what came. */
export class PictureError extends ApiError {
  override readonly name = 'PictureError';

  constructor(code: keyof typeof statuses, message: string, options?: ApiErrorOptions) {
    super(statuses[code], code, message, options);
  }
}

export interface PictureLimit {
  /** Most pixels. */
  pixels: number;
  /** A shorter side counts as this one, where it costs as much. */
  shortestSide?: number;
  /** Longest that decoding may take, in milliseconds, the wait for its turn not counted. Default 5000. */
  time?: number;
}

/** Most scans of a JPEG. A progressive one has about ten; of 16 million pixels a hundred take half a second. */
const MOST_SCANS = 100;
/** Decodes at once. Each keeps one of libuv's four threads, which the encoder, file reads and DNS need too. */
const MOST_AT_ONCE = 2;
/** Pictures that may wait for their turn; more are refused with a `QueueFullError`. Most take a few milliseconds. */
const MOST_WAITING = 256;
/** Longest from a picture's arrival to its end, in milliseconds: behind many slow ones it is refused at once. */
const LONGEST_STAY = 30_000;

// A JPEG with a second, brighter version in it stays an ordinary JPEG: of the second one no scans have been counted.
sharp.block({ operation: ['VipsForeignLoadUhdr'] });

/** The turns of all pictures of this process, of digits and photos alike: they share its threads. */
const decodes = asBatchedService(1, 0, {
  name: 'pictures',
  dispatch: 'eager',
  concurrency: MOST_AT_ONCE,
  maxQueued: MOST_WAITING,
})(async ([decode]: (() => Promise<Decoded>)[]) => [await decode?.()] as Decoded[]);

interface Decoded {
  data: Buffer;
  info: OutputInfo;
}

/**
 * Decodes a PNG, JPEG, WebP or GIF file, upright, in the way that `prepare` adds; of an animation the first frame. What it costs is
 * bounded before anything is decoded: by the file's own words about its size and its scans.
 *
 * @param signal gives up: a picture that waits for its turn is never decoded
 * @throws {PictureError} for every picture that cannot be used; its `code` says why
 * @throws {QueueFullError} when too many pictures wait already
 * @throws {DeadlineError} or {BatchTimeoutError} when those before it take too long
 */
export async function decodePicture(
  file: Buffer,
  limit: PictureLimit,
  prepare: (picture: Sharp) => Sharp,
  signal?: AbortSignal,
): Promise<Decoded> {
  const { time = 5000 } = limit;
  const picture = checkedFile(file, limit);
  const late = new AbortController();
  let alarm: NodeJS.Timeout | undefined;
  const decode = () => {
    // What libvips does before its first row it does not interrupt: the caller has its answer then, and the turn goes on
    // until the thread is free.
    alarm = setTimeout(() => {
      late.abort(tooSlow(time));
    }, time);
    return decodeNow(picture, limit.pixels, time, prepare);
  };
  try {
    return await decodes(decode, {
      signal: AbortSignal.any(signal ? [signal, late.signal] : [late.signal]),
      timeout: LONGEST_STAY,
    });
  } finally {
    clearTimeout(alarm);
  }
}

async function decodeNow(
  file: Buffer,
  pixels: number,
  time: number,
  prepare: (picture: Sharp) => Sharp,
): Promise<Decoded> {
  try {
    const picture = sharp(file, { failOn: 'error', limitInputPixels: pixels }).autoOrient();
    return await prepare(picture)
      .timeout({ seconds: Math.ceil(time / 1000) })
      .raw()
      .toBuffer({ resolveWithObject: true });
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('timeout')) throw tooSlow(time, error);
    throw new PictureError(
      'ERR_PICTURE_BROKEN',
      `expected a whole PNG, JPEG, WebP or GIF picture, got ${file.length} bytes that cannot be decoded`,
      { cause: error },
    );
  }
}

/** Looks at the signature first, so that no other format's decoder ever sees bytes from outside. */
function checkedFile(file: Buffer, limit: PictureLimit): Buffer {
  if (file.length === 0) {
    throw new PictureError('ERR_PICTURE_EMPTY', 'expected a PNG, JPEG, WebP or GIF picture, got 0 bytes');
  }
  const structure = structureOf(file);
  if (!structure) {
    throw new PictureError(
      'ERR_PICTURE_FORMAT',
      `expected a PNG, JPEG, WebP or GIF picture, got data that begins with the bytes ${file.toString('hex', 0, 8)}`,
    );
  }
  checkSize(structure.width, structure.height, limit);
  if (structure.scans > MOST_SCANS) {
    throw new PictureError(
      'ERR_PICTURE_SCANS',
      `expected a JPEG picture of at most ${MOST_SCANS} scans, got ${structure.scans}; saved again, it has about ten`,
      { details: { limit: MOST_SCANS } },
    );
  }
  return structure.file;
}

function checkSize(width: number, height: number, { pixels, shortestSide = 1 }: PictureLimit): void {
  if (Math.max(width, shortestSide) * Math.max(height, shortestSide) <= pixels) return;
  const rule = shortestSide > 1 ? `, where a side below ${shortestSide} counts as ${shortestSide}` : '';
  throw new PictureError(
    'ERR_PICTURE_TOO_LARGE',
    `expected a picture of at most ${pixels} pixels${rule}, got ${width}×${height}`,
    { details: { limit: pixels } },
  );
}

function tooSlow(time: number, cause?: Error): PictureError {
  return new PictureError(
    'ERR_PICTURE_TOO_SLOW',
    `expected a picture that is decoded within ${time} ms, got one that takes longer`,
    { cause, details: { limit: time } },
  );
}
