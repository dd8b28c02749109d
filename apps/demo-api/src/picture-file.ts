import sharp, { type OutputInfo, type Sharp } from 'sharp';

/** What can be wrong with a picture: nothing there, neither PNG nor JPEG, too large, damaged, or no ink on it. */
export type PictureErrorCode =
  | 'ERR_PICTURE_EMPTY'
  | 'ERR_PICTURE_FORMAT'
  | 'ERR_PICTURE_TOO_LARGE'
  | 'ERR_PICTURE_BROKEN'
  | 'ERR_PICTURE_BLANK';

/** A picture that cannot be used. The message says what was expected and what came. */
export class PictureError extends Error {
  override readonly name = 'PictureError';
  /** What else there is to know, for programs. */
  readonly details: unknown;

  constructor(
    readonly code: PictureErrorCode,
    message: string,
    { details, ...options }: ErrorOptions & { details?: unknown } = {},
  ) {
    super(message, options);
    this.details = details;
  }
}

export interface PictureLimit {
  /** Most pixels. */
  pixels: number;
  /** A shorter side counts as this one, where it costs as much. */
  shortestSide?: number;
}

/**
 * Decodes a PNG or JPEG file, upright, in the way that `prepare` adds; of an animation the first frame.
 *
 * @throws {PictureError} for every picture that cannot be used; its `code` says why
 */
export async function decodePicture(
  file: Buffer,
  limit: PictureLimit,
  prepare: (picture: Sharp) => Sharp,
): Promise<{ data: Buffer; info: OutputInfo }> {
  checkFormat(file);
  try {
    // The header alone says the size: a bomb is refused before anything is unpacked.
    const { width, height } = await sharp(file, { limitInputPixels: false }).metadata();
    checkSize(width, height, limit);
    const picture = sharp(file, { failOn: 'error', limitInputPixels: limit.pixels }).autoOrient();
    return await prepare(picture).raw().toBuffer({ resolveWithObject: true });
  } catch (error) {
    if (error instanceof PictureError) throw error;
    throw new PictureError(
      'ERR_PICTURE_BROKEN',
      `expected a whole PNG or JPEG picture, got ${file.length} bytes that cannot be decoded`,
      { cause: error },
    );
  }
}

/** Looks at the signature only, so that no other format's decoder ever sees a stranger's bytes. */
function checkFormat(file: Buffer): void {
  if (file.length === 0) {
    throw new PictureError('ERR_PICTURE_EMPTY', 'expected a PNG or JPEG picture, got 0 bytes');
  }
  const start = file.toString('hex', 0, 8);
  if (start !== '89504e470d0a1a0a' && !start.startsWith('ffd8ff')) {
    throw new PictureError(
      'ERR_PICTURE_FORMAT',
      `expected a PNG or JPEG picture, got data that begins with the bytes ${start}`,
    );
  }
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
