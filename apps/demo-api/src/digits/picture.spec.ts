import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from '@jest/globals';
import * as tf from '@tensorflow/tfjs';
import sharp, { type Sharp } from 'sharp';
import { PictureError } from '../picture-file.js';
import { loadTestDigits, type LabelledDigit } from './mnist.js';
import { pictureToPixels } from './picture.js';

let digits: readonly LabelledDigit[];
let seven: Uint8Array;

beforeAll(async () => {
  digits = await loadTestDigits();
  seven = at(digits, 0).pixels;
});

describe('pictureToPixels', () => {
  it('gives a digit of MNIST back nearly as it was', async () => {
    const pixels = await pictureToPixels(await enlarged(seven).png().toBuffer());
    expect(pixels).toBeInstanceOf(Uint8Array);
    expect(pixels).toHaveLength(784);
    expect(difference(pixels, seven)).toBeLessThan(8);
  });

  it.each(['png', 'jpeg'] as const)(
    'keeps 200 enlarged test digits readable as %s',
    async (format) => {
      const some = digits.slice(0, 200);
      const pictures = await Promise.all(
        some.map(({ pixels }) => enlarged(pixels).toFormat(format).toBuffer()),
      );
      const read = await classify(await Promise.all(pictures.map((picture) => pictureToPixels(picture))));
      const right = some.filter(({ label }, i) => read[i] === label);
      expect(right.length).toBeGreaterThanOrEqual(0.97 * some.length);
    },
    60_000,
  );

  it('scales and centres as MNIST does, wherever and however large the digit is', async () => {
    for (const { pixels } of digits.slice(0, 20)) {
      for (const [size, left, top] of [
        [28, 0, 0],
        [60, 400, 10],
        [500, 100, 300],
      ] as const) {
        const ink = await sharp(pixels, grey28).resize(size, size).png().toBuffer();
        const picture = await canvas('black', 700, 900)
          .composite([{ input: ink, left, top }])
          .png()
          .toBuffer();
        const { width, height, x, y, strongest } = measure(await pictureToPixels(picture));
        expect(Math.max(width, height)).toBeLessThanOrEqual(20);
        expect(Math.max(width, height)).toBeGreaterThanOrEqual(19);
        expect(Math.abs(x - 14)).toBeLessThanOrEqual(0.51);
        expect(Math.abs(y - 14)).toBeLessThanOrEqual(0.51);
        expect(strongest).toBe(255);
      }
    }
  }, 60_000);

  it('keeps the proportions of a stroke', async () => {
    const standing = measure(await pictureToPixels(await strokes('<path d="M150 50V250"/>')));
    expect([standing.width, standing.height]).toEqual([2, 20]);
    const lying = measure(await pictureToPixels(await strokes('<path d="M50 150H250"/>')));
    expect([lying.width, lying.height]).toEqual([20, 2]);
  });

  describe('finds the ink', () => {
    const paths = '<path d="M80 70H220L130 240"/>';
    let expected: Uint8Array;

    beforeAll(async () => {
      expected = await pictureToPixels(await strokes(paths, { ink: 'black', paper: 'white' }));
    });

    it.each([
      ['light on dark', 'white', 'black'],
      ['dark grey on light grey', '#555', '#999'],
      ['yellow on white', '#ff0', '#fff'],
      ['blue on black', '#00f', '#000'],
      ['red on an equally bright green', '#f00', '#009400'],
      ['black on nothing', 'black', 'none'],
      ['white on nothing', 'white', 'none'],
      ['half-transparent on white', 'rgba(0,0,0,0.5)', 'white'],
    ])('%s', async (_, ink, paper) => {
      expect(difference(await pictureToPixels(await strokes(paths, { ink, paper })), expected)).toBeLessThan(
        2,
      );
    });

    it('in a JPEG that its EXIF data says to turn', async () => {
      const turned = await sharp(await strokes(paths))
        .rotate(-90)
        .withMetadata({ orientation: 6 })
        .jpeg()
        .toBuffer();
      expect(difference(await pictureToPixels(turned), expected)).toBeLessThan(2);
    });

    it.each([
      ['16 bits per channel', (picture: Sharp) => picture.toColourspace('rgb16').png()],
      ['one grey channel', (picture: Sharp) => picture.toColourspace('b-w').png()],
      ['a palette', (picture: Sharp) => picture.png({ palette: true })],
      ['a CMYK JPEG', (picture: Sharp) => picture.toColourspace('cmyk').jpeg()],
      ['a coarse JPEG', (picture: Sharp) => picture.jpeg({ quality: 20 })],
    ])('in %s', async (_, save) => {
      const picture = await save(sharp(await strokes(paths)).flatten()).toBuffer();
      expect(difference(await pictureToPixels(picture), expected)).toBeLessThan(3);
    });

    it('among dust and beside the pieces that belong to it', async () => {
      const dust = '<g stroke-width="3"><path d="M20 30h3M280 20h3M270 280h3M30 270h3"/></g>';
      expect(difference(await pictureToPixels(await strokes(paths + dust)), expected)).toBeLessThan(2);
      const apart = await pictureToPixels(await strokes('<path d="M80 100V240"/><path d="M80 60H140"/>'));
      expect(measure(apart)).toMatchObject({ width: 7, height: 20 });
    });

    it('in a noisy photograph with a shadow', async () => {
      const { data, info } = await sharp(await strokes(paths, { ink: '#555', paper: '#e6e6e6' }))
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      for (let i = 0; i < data.length; i++) {
        const x = Math.floor(i / 3) % info.width;
        // The multiplication makes noise of ±12 without a random number.
        data[i] = at(data, i) * (0.6 + (0.4 * x) / info.width) + (((i * 7919) % 25) - 12);
      }
      const photo = await sharp(data, { raw: { width: info.width, height: info.height, channels: 3 } })
        .jpeg({ quality: 70 })
        .toBuffer();
      const [clear, dim] = [measure(expected), measure(await pictureToPixels(photo))];
      expect(Math.abs(dim.width - clear.width)).toBeLessThanOrEqual(1);
      expect(dim.height).toBe(clear.height);
    });
  });

  describe('refuses', () => {
    // 69 bytes that claim 50,000×50,000 pixels.
    const bomb =
      'iVBORw0KGgoAAAANSUhEUgAAw1AAAMNQCAAAAABuxGIWAAAADElEQVR4nGNgoD0AAABkAAGGZDw1AAAAAElFTkSuQmCC';

    it.each<[string, string, RegExp, () => Promise<Buffer> | Buffer]>([
      ['nothing', 'ERR_PICTURE_EMPTY', /got 0 bytes/, () => Buffer.alloc(0)],
      ['text', 'ERR_PICTURE_FORMAT', /begins with the bytes 736576656e/, () => Buffer.from('seven')],
      ['a TIFF', 'ERR_PICTURE_FORMAT', /bytes 49492a00/, () => enlarged(seven).tiff().toBuffer()],
      [
        'an SVG',
        'ERR_PICTURE_FORMAT',
        /PNG, JPEG, WebP or GIF/,
        () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'),
      ],
      [
        'a bomb',
        'ERR_PICTURE_TOO_LARGE',
        /16000000 pixels, got 50000×50000/,
        () => Buffer.from(bomb, 'base64'),
      ],
      [
        'a signature alone',
        'ERR_PICTURE_BROKEN',
        /got 8 bytes/,
        () => Buffer.from('89504e470d0a1a0a', 'hex'),
      ],
      [
        'white paper',
        'ERR_PICTURE_BLANK',
        /at most 0 of 255/,
        () => canvas('white', 90, 60).png().toBuffer(),
      ],
      [
        'a single pixel',
        'ERR_PICTURE_BLANK',
        /at most 0 of 255/,
        () => canvas('red', 1, 1).jpeg().toBuffer(),
      ],
      ['transparency', 'ERR_PICTURE_BLANK', /at most 0 of 255/, () => strokes('', { paper: 'none' })],
      [
        'faint traces',
        'ERR_PICTURE_BLANK',
        /at most 1\d of 255/,
        () => strokes('<path d="M9 9V90"/>', { ink: '#eee' }),
      ],
      ['grains', 'ERR_PICTURE_BLANK', /\d+ spots of similar size/, grains],
    ])('%s', async (_, code, message, make) => {
      const error = await failure(pictureToPixels(await make()));
      expect(error).toBeInstanceOf(PictureError);
      expect(error).toMatchObject({ name: 'PictureError', code, message: expect.stringMatching(message) });
    });

    it.each(['png', 'jpeg'] as const)('a %s that was cut off anywhere', async (format) => {
      const whole = await enlarged(seven).toFormat(format).toBuffer();
      // A PNG is still whole without its last 12 bytes, which only say that it ends.
      for (let length = 8; length < whole.length - 12; length += 97) {
        expect(await failure(pictureToPixels(whole.subarray(0, length)))).toMatchObject({
          code: 'ERR_PICTURE_BROKEN',
        });
      }
    });
  });
});

const grey28 = { raw: { width: 28, height: 28, channels: 1 } } as const;

function enlarged(pixels: Uint8Array): Sharp {
  return sharp(pixels, grey28).resize(280, 280);
}

function canvas(background: string, width: number, height: number): Sharp {
  return sharp({ create: { background, width, height, channels: 3 } });
}

/** A PNG of 300×300 with these SVG shapes, drawn with a broad pen. */
function strokes(shapes: string, { ink = 'black', paper = 'white' } = {}): Promise<Buffer> {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="300" height="300"><rect width="300" height="300"
    fill="${paper}"/><g fill="none" stroke-width="22" stroke="${ink}">${shapes}</g></svg>`;
  return sharp(Buffer.from(svg)).png().toBuffer();
}

/** 1,600 separate dots. */
function grains(): Promise<Buffer> {
  const dots = Buffer.alloc(82 * 82);
  for (let i = 0; i < 1600; i++) dots[82 * (2 + 2 * Math.floor(i / 40)) + 2 + 2 * (i % 40)] = 255;
  return sharp(dots, { raw: { width: 82, height: 82, channels: 1 } })
    .png()
    .toBuffer();
}

/** Mean absolute difference of two pictures, of 255. */
function difference(one: Uint8Array, other: Uint8Array): number {
  return one.reduce((sum, value, i) => sum + Math.abs(value - at(other, i)), 0) / one.length;
}

/** Size and centre of mass of the ink. */
function measure(pixels: Uint8Array) {
  const ink = [...pixels]
    .map((value, i) => ({ value, x: i % 28, y: Math.floor(i / 28) }))
    .filter(({ value }) => value > 0);
  const extent = (places: number[]) => Math.max(...places) - Math.min(...places) + 1;
  const mass = ink.reduce((sum, { value }) => sum + value, 0);
  return {
    width: extent(ink.map(({ x }) => x)),
    height: extent(ink.map(({ y }) => y)),
    x: ink.reduce((sum, { value, x }) => sum + value * x, 0) / mass,
    y: ink.reduce((sum, { value, y }) => sum + value * y, 0) / mass,
    strongest: Math.max(...pixels),
  };
}

/** What the trained network reads, in plain JavaScript: no other backend is needed here. */
async function classify(pictures: readonly Uint8Array[]): Promise<readonly number[]> {
  const folder = new URL('../../models/digits/', import.meta.url);
  const { modelTopology, weightsManifest } = JSON.parse(
    await readFile(new URL('model.json', folder), 'utf8'),
  ) as tf.io.ModelJSON;
  const weights = await readFile(new URL('weights.bin', folder));
  tf.enableProdMode(); // keeps TensorFlow.js from advertising another backend on the console
  await tf.setBackend('cpu');
  const model = await tf.loadLayersModel(
    tf.io.fromMemory({
      modelTopology,
      weightSpecs: weightsManifest.flatMap((group) => group.weights),
      weightData: new Uint8Array(weights).buffer,
    }),
  );
  const digits = tf.tidy(() => {
    const pixels = tf.tensor4d(
      pictures.flatMap((picture) => [...picture]),
      [pictures.length, 28, 28, 1],
    );
    return [...tf.argMax(model.predictOnBatch(pixels) as tf.Tensor2D, 1).dataSync()];
  });
  model.dispose();
  return digits;
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

function at<Item>(items: ArrayLike<Item>, index: number): Item {
  const item = items[index];
  if (item === undefined) throw new RangeError(`expected an item at ${index}, got ${items.length} items`);
  return item;
}
