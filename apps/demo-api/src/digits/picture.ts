import sharp from 'sharp';
import { decodePicture, PictureError } from '../picture-file.js';

/** A grey picture, row by row; 0 is paper and 255 full ink. */
interface Ink {
  readonly values: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Enough for a phone's photograph; decoded it takes 64 MB at most. */
const MAX_PIXELS = 16_000_000;
/** Longest side to look for the digit on. Larger pictures are scaled down, which also averages noise away. */
const WORKING_SIDE = 256;
/** Least difference between ink and paper, of 255. */
const LEAST_CONTRAST = 32;
/**
 * Spots with less ink than this share of the largest one are dust; a 5's separate bar has more. When the largest one
 * has less than this share of all ink, everything is dust.
 */
const DUST = 0.05;
/** MNIST: a digit fits into 20×20 and its centre of mass lies on pixel 14 of 28 in both directions. */
const [SIDE, DIGIT_SIDE, CENTRE] = [28, 20, 14];

/**
 * Prepares a picture of one handwritten digit as MNIST's were (yann.lecun.com/exdb/mnist): 28×28 grey values, row by
 * row, 0 (paper) to 255 (ink), the digit scaled into 20×20 with its proportions kept, its centre of mass in the
 * middle.
 *
 * Paper is what most of the picture's edge shows, be it light, dark, coloured or transparent; ink is what differs
 * from it.
 *
 * @param picture a PNG, JPEG, WebP or GIF file of at most 16 million pixels; of an animation the first frame counts
 * @param signal gives up, if the picture still waits for its turn to be decoded
 * @throws {PictureError} for every picture that cannot be used; its `code` says why
 */
export async function pictureToPixels(
  picture: Buffer,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Uint8Array> {
  const ink = withoutDust(await readInk(picture, signal));
  return centred(await scaledToDigit(ink));
}

/** How much each pixel differs from the paper, with the paper's own noise taken away. */
async function readInk(picture: Buffer, signal: AbortSignal | undefined): Promise<Ink> {
  const { data, width, height } = await decode(picture, signal);
  const edge = edgePixels(width, height);
  const paper = [0, 1, 2, 3].map((channel) =>
    quantile(
      edge.map((pixel) => data[4 * pixel + channel] ?? 0),
      0.5,
    ),
  );
  const differences = new Uint8Array(width * height);
  let strongest = 0;
  for (let i = 0; i < data.length; i++) {
    const signed = (data[i] ?? 0) - (paper[i & 3] ?? 0);
    const difference = signed < 0 ? -signed : signed;
    if (difference > (differences[i >> 2] ?? 0)) differences[i >> 2] = difference;
    if (difference > strongest) strongest = difference;
  }
  const edgeDifferences = edge.map((pixel) => differences[pixel] ?? 0);
  // Two measures of how much paper varies, since each is wrong at times: strokes that run off the picture raise the
  // first, light that falls off towards one side the second.
  const noise = Math.min(1.5 * quantile(edgeDifferences, 0.9), 3 * quantile(edgeDifferences, 0.5));
  if (strongest < Math.max(LEAST_CONTRAST, 1.5 * noise)) {
    throw new PictureError(
      'ERR_PICTURE_BLANK',
      'expected a digit that stands out from its background, got a difference of at most ' +
        `${strongest} of 255 on a background that varies by ${noise}`,
    );
  }
  // A quarter of the ink is more than JPEG leaves around strokes, and than a picture's middle is brighter than its edge.
  const floor = Math.max(noise, strongest / 4);
  return {
    values: differences.map((difference) =>
      difference > floor ? (255 * (difference - floor)) / (strongest - floor) : 0,
    ),
    width,
    height,
  };
}

/** Upright RGBA, colours multiplied by their opacity: so transparency is a colour like others. */
async function decode(
  file: Buffer,
  signal: AbortSignal | undefined,
): Promise<{ data: Buffer; width: number; height: number }> {
  const { data, info } = await decodePicture(
    file,
    { pixels: MAX_PIXELS },
    (picture) =>
      picture
        .resize({ width: WORKING_SIDE, height: WORKING_SIDE, fit: 'inside', withoutEnlargement: true })
        .ensureAlpha(),
    signal,
  );
  for (let i = 0; i < data.length; i++) {
    const opacity = data[i | 3] ?? 0;
    if (opacity < 255 && (i & 3) < 3) data[i] = ((data[i] ?? 0) * opacity) / 255;
  }
  return { data, width: info.width, height: info.height };
}

function edgePixels(width: number, height: number): number[] {
  const rows = Array.from({ length: height }, (_, y) => [y * width, y * width + width - 1]);
  const columns = Array.from({ length: width }, (_, x) => [x, (height - 1) * width + x]);
  return [...rows, ...columns].flat();
}

function quantile(numbers: readonly number[], share: number): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(share * numbers.length)] ?? 0;
}

/** Wipes out spots that are much smaller than the largest one, so that a speck does not widen the digit's box. */
function withoutDust({ values, width, height }: Ink): Ink {
  const spots: { pixels: number[]; mass: number }[] = [];
  const seen = new Uint8Array(values.length);
  let [largest, total] = [0, 0];
  values.forEach((value, first) => {
    if (value === 0 || seen[first]) return;
    seen[first] = 1;
    const pixels = [first];
    let mass = 0;
    // The list grows while it is walked.
    for (const pixel of pixels) {
      mass += values[pixel] ?? 0;
      const x = pixel % width;
      for (let row = pixel - x - width; row <= pixel - x + width; row += width) {
        for (let column = x - 1; column <= x + 1; column++) {
          const neighbour = row + column;
          if (column < 0 || column >= width || !values[neighbour] || seen[neighbour]) continue;
          seen[neighbour] = 1;
          pixels.push(neighbour);
        }
      }
    }
    spots.push({ pixels, mass });
    largest = Math.max(largest, mass);
    total += mass;
  });
  if (largest < DUST * total) {
    throw new PictureError(
      'ERR_PICTURE_BLANK',
      `expected one digit, got ${spots.length} spots of similar size`,
    );
  }
  const clean = new Uint8Array(values.length);
  for (const { pixels, mass } of spots) {
    if (mass < DUST * largest) continue;
    for (const pixel of pixels) clean[pixel] = values[pixel] ?? 0;
  }
  return { values: clean, width, height };
}

/** The ink's bounding box, scaled so that its longer side is 20 pixels and its strongest value 255. */
async function scaledToDigit({ values, width, height }: Ink): Promise<Ink> {
  let [left, right, top, bottom] = [width, 0, height, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!values[y * width + x]) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  const box = { left, top, width: right - left + 1, height: bottom - top + 1 };
  const scale = DIGIT_SIDE / Math.max(box.width, box.height);
  const { data, info } = await sharp(values, { raw: { width, height, channels: 1 } })
    .extract(box)
    .resize({
      width: Math.max(1, Math.round(box.width * scale)),
      height: Math.max(1, Math.round(box.height * scale)),
      fit: 'fill',
    })
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const strongest = Math.max(1, ...data);
  return {
    values: Uint8Array.from(data, (value) => Math.round((255 * value) / strongest)),
    width: info.width,
    height: info.height,
  };
}

/** The digit on 28×28 pixels, its centre of mass in the middle as far as whole pixels and the frame allow. */
function centred({ values, width, height }: Ink): Uint8Array {
  let [mass, xMass, yMass] = [0, 0, 0];
  values.forEach((value, i) => {
    mass += value;
    xMass += value * (i % width);
    yMass += value * Math.floor(i / width);
  });
  const left = Math.min(Math.max(0, Math.round(CENTRE - xMass / mass)), SIDE - width);
  const top = Math.min(Math.max(0, Math.round(CENTRE - yMass / mass)), SIDE - height);
  const pixels = new Uint8Array(SIDE * SIDE);
  for (let y = 0; y < height; y++) {
    pixels.set(values.subarray(y * width, (y + 1) * width), (top + y) * SIDE + left);
  }
  return pixels;
}
