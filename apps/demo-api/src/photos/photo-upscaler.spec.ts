import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { asBatchedService, type BatchFunction, type BatchQueue } from 'nest-batching';
import sharp, { type Sharp } from 'sharp';
import { readConfiguration } from '../configuration.js';
import { Journeys } from '../digits/journeys.js';
import { PhotoPlaces } from './photo-places.js';
import { PhotoUpscaler, type Progress } from './photo-upscaler.js';
import { TILE_SIDE } from './tiles.js';

type Network = BatchFunction<Uint8Array, Uint8ClampedArray>;

const journeys = new Journeys();

describe('PhotoUpscaler', () => {
  beforeAll(() => {
    journeys.onModuleInit();
  });
  afterAll(() => {
    journeys.onApplicationShutdown();
  });

  it('doubles pictures of any size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 200 }),
        async (width, height) => {
          const picture = noise(width, height);
          const file = await sharp(picture, { raw: { width, height, channels: 3 } })
            .png()
            .toBuffer();
          const { data, info } = await rawOf(await upscaler(repeatPixels).upscale(file));
          expect(info).toMatchObject({ width: 2 * width, height: 2 * height, channels: 3 });
          expect(data.equals(await doubled(picture, width, height))).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('tells how far it is, from nothing to all', async () => {
    const told: Progress[] = [];
    await upscaler(repeatPixels).upscale(await grey(300, 100), {
      onProgress: (progress) => told.push(progress),
    });
    expect(told.map(({ done }) => done)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(new Set(told.map(({ total }) => total))).toEqual(new Set([10]));
  });

  it.each([
    [
      'turned by its EXIF data',
      (picture: Sharp) => picture.withMetadata({ orientation: 6 }).jpeg(),
      40,
      60,
      2,
    ],
    ['of grey values', (picture: Sharp) => picture.toColourspace('b-w').png(), 60, 40, 0],
    ['of 16 bits', (picture: Sharp) => picture.toColourspace('rgb16').png(), 60, 40, 1],
    ['of inks', (picture: Sharp) => picture.toColourspace('cmyk').jpeg(), 60, 40, 16],
    ['with a palette', (picture: Sharp) => picture.png({ palette: true }), 60, 40, 0],
  ])('takes a picture %s', async (_, save, width, height, loss) => {
    const file = await save(
      sharp({ create: { width: 60, height: 40, channels: 3, background: '#888' } }),
    ).toBuffer();
    const { data, info } = await rawOf(await upscaler(repeatPixels).upscale(file));
    expect(info).toMatchObject({ width: 2 * width, height: 2 * height, channels: 3 });
    expect(Math.min(...data)).toBeGreaterThanOrEqual(0x88 - loss);
    expect(Math.max(...data)).toBeLessThanOrEqual(0x88 + loss);
  });

  it('continues what is smaller than a tile by its mirror image', async () => {
    const seen = new Set<number>();
    const made = upscaler((tiles) => {
      tiles.forEach((tile) => {
        tile.forEach((value) => seen.add(value));
      });
      return repeatPixels(tiles);
    });
    await made.upscale(await grey(30, 1, 77));
    expect([...seen]).toEqual([77]);
  });

  it('keeps what is transparent, without a fringe', async () => {
    // White on a ground that is transparent, and black where one looked.
    const svg =
      '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"><circle cx="45" cy="45" r="30" fill="#fff"/></svg>';
    const file = await sharp(Buffer.from(svg)).png().toBuffer();
    const { data, info } = await rawOf(await upscaler(repeatPixels).upscale(file));
    expect(info).toMatchObject({ width: 180, height: 180, channels: 4 });
    const alphaAt = (x: number, y: number) => data[4 * (180 * y + x) + 3];
    expect([alphaAt(0, 0), alphaAt(90, 90)]).toEqual([0, 255]);
    const seen = data.filter((_, i) => data[i | 3] !== 0);
    expect(seen.filter((value, i) => i % 4 < 3 && value < 250)).toHaveLength(0);
  });

  it('has two batches of tiles in the queue and no more, so that others have their turn', async () => {
    let most = 0;
    const made = upscaler(async (tiles) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const { waiting, running } = made.queue.stats();
      most = Math.max(most, waiting + running);
      return repeatPixels(tiles);
    });
    await made.upscale(await grey(500, 500));
    expect(most).toBe(8);
  });

  it('shares batches, in turns', async () => {
    const batches: Set<number>[] = [];
    const made = upscaler((tiles) => {
      batches.push(new Set(tiles.map((tile) => tile[0] ?? 0)));
      return repeatPixels(tiles);
    });
    const photos = [10, 20, 30, 40].map((shade) => grey(400, 400, shade));
    await Promise.all((await Promise.all(photos)).map((photo) => made.upscale(photo)));
    expect(batches.filter((shades) => shades.size === 4).length).toBeGreaterThan(batches.length / 2);
  });

  it('is over with the first tile that fails, and takes the others out of the queue', async () => {
    let batches = 0;
    const made = upscaler(async (tiles) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (++batches === 2) throw new Error('out of memory');
      return repeatPixels(tiles);
    });
    await expect(made.upscale(await grey(500, 500))).rejects.toThrow('out of memory');
    await made.queue.drain();
    expect(batches).toBeLessThanOrEqual(16);
    expect(made.queue.stats()).toMatchObject({ waiting: 0, running: 0 });
  });

  it('is over when its caller has gone', async () => {
    let batches = 0;
    const caller = new AbortController();
    const made = upscaler((tiles) => {
      if (++batches === 3) caller.abort(new Error('gone'));
      return repeatPixels(tiles);
    });
    await expect(made.upscale(await grey(500, 500), { signal: caller.signal })).rejects.toThrow('gone');
    await made.queue.drain();
    expect(batches).toBe(3);
    expect(made.queue.stats().drops.aborted).toBeGreaterThan(0);
  });

  it('refuses a seventeenth photo while sixteen are in progress, and takes one when they are done', async () => {
    const made = upscaler(repeatPixels);
    const photo = await grey(100, 100);
    const outcomes = await Promise.allSettled(Array.from({ length: 17 }, () => made.upscale(photo)));
    expect(outcomes.map(({ status }) => status)).toEqual([
      ...Array<string>(16).fill('fulfilled'),
      'rejected',
    ]);
    expect(outcomes[16]).toMatchObject({ reason: { code: 'ERR_BATCHING_FULL', retryAfter: 5000 } });
    await made.upscale(photo);
  });

  it.each([
    ['more pixels than allowed', 500, 501, 'expected a picture of at most 250000 pixels'],
    ['a line that needs as many tiles', 1, 3000, 'where a side below 84 counts as 84, got 1×3000'],
  ])('refuses %s', async (_, width, height, message) => {
    const file = await grey(width, height);
    await expect(upscaler(repeatPixels).upscale(file)).rejects.toMatchObject({
      code: 'ERR_PICTURE_TOO_LARGE',
      message: expect.stringContaining(message),
    });
  });
});

function upscaler(network: Network): PhotoUpscaler & { queue: BatchQueue<Uint8Array, Uint8ClampedArray> } {
  const upscale = asBatchedService(4, 1)(network);
  const made = new PhotoUpscaler(
    { upscale },
    journeys,
    new PhotoPlaces(),
    readConfiguration({ MAX_PHOTO_PIXELS: '250000' }),
  );
  return Object.assign(made, { queue: upscale.queue });
}

/** A network that repeats each pixel twice in both directions. */
function repeatPixels(tiles: readonly Uint8Array[]): Uint8ClampedArray[] {
  return tiles.map((tile) => {
    const row = 2 * TILE_SIDE * 3;
    const enlarged = new Uint8ClampedArray(4 * tile.length);
    for (let i = 0; i < enlarged.length; i++) {
      const [y, x] = [(i / row) >> 1, ((i % row) / 3) >> 1];
      enlarged[i] = tile[3 * (y * TILE_SIDE + x) + (i % 3)] ?? 0;
    }
    return enlarged;
  });
}

function noise(width: number, height: number): Uint8Array {
  return Uint8Array.from({ length: 3 * width * height }, (_, i) => Math.imul(i + width, 2654435761) >>> 24);
}

function doubled(picture: Uint8Array, width: number, height: number): Promise<Buffer> {
  return sharp(picture, { raw: { width, height, channels: 3 } })
    .resize(2 * width, 2 * height, { kernel: 'nearest', fit: 'fill' })
    .raw()
    .toBuffer();
}

function grey(width: number, height: number, shade = 128): Promise<Buffer> {
  return sharp({ create: { width, height, channels: 3, background: { r: shade, g: shade, b: shade } } })
    .png()
    .toBuffer();
}

function rawOf(file: Buffer) {
  return sharp(file).raw().toBuffer({ resolveWithObject: true });
}
