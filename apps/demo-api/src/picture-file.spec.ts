import { crc32, deflateSync } from 'node:zlib';
import { describe, expect, it, jest } from '@jest/globals';
import { BatchTimeoutError, QueueFullError } from 'nest-batching';
import sharp, { type Sharp } from 'sharp';
import { decodePicture } from './picture-file.js';
import { structureOf } from './picture-structure.js';

const limit = { pixels: 16_000_000 };
const asItIs = (picture: Sharp) => picture;
/** Keeps a thread busy for some hundred milliseconds. */
const slow = (picture: Sharp) => picture.resize(900, 900).blur(20).median(5);

describe('decodePicture', () => {
  describe('libjpeg-turbo#284, DALI#5316: scans', () => {
    it.each([
      ['of a few coefficients in many bit planes', { coefficients: 8, planes: 14 }, 115],
      ['beyond what the standard allows', { coefficients: 1, planes: 1, again: 2600 }, 2604],
      ['a hundred and one', { coefficients: 1, planes: 1, again: 97 }, 101],
    ])('too many are refused before anything is decoded: %s', async (_, make, scans) => {
      await expect(decodePicture(progressive(64, make), limit, asItIs)).rejects.toMatchObject({
        code: 'ERR_PICTURE_SCANS',
        message: `expected a JPEG picture of at most 100 scans, got ${scans}; saved again, it has about ten`,
        details: { limit: 100 },
      });
    });

    it('a hundred are decoded', async () => {
      const file = progressive(64, { coefficients: 1, planes: 1, again: 96 });
      expect(structureOf(file)?.scans).toBe(100);
      expect((await decodePicture(file, limit, asItIs)).info).toMatchObject({ width: 64, height: 64 });
    });

    it('those of a preview in the metadata do not count, those after padding do', () => {
      const file = progressive(16, { coefficients: 1, planes: 1 });
      const withPreview = Buffer.concat([
        file.subarray(0, 2),
        segment(0xe1, Buffer.concat(Array<Buffer>(500).fill(Buffer.from('ffda0008', 'hex')))),
        file.subarray(2),
      ]);
      expect(structureOf(withPreview)).toMatchObject({ scans: 4, width: 16, height: 16 });
      const scan = Buffer.from('ffffffda00080101000101100000', 'hex');
      const padded = Buffer.concat([
        file.subarray(0, -2),
        ...Array<Buffer>(200).fill(scan),
        file.subarray(-2),
      ]);
      expect(structureOf(padded)?.scans).toBe(204);
    });

    it('an ordinary progressive picture has about ten', async () => {
      const file = await sharp({ create: { width: 300, height: 200, channels: 3, background: '#888' } })
        .jpeg({ progressive: true, optimiseScans: true })
        .toBuffer();
      expect(structureOf(file)).toMatchObject({ width: 300, height: 200 });
      expect(structureOf(file)?.scans).toBeLessThan(20);
    });
  });

  it('texts of a PNG that unpack to megabytes never reach the decoder', async () => {
    const picture = await noise(40, 30).png().toBuffer();
    const bomb = chunk(
      'zTXt',
      Buffer.concat([Buffer.from('Comment\0\0'), deflateSync(Buffer.alloc(7_900_000))]),
    );
    const file = withChunks(picture, Array<Buffer>(500).fill(bomb));
    const structure = structureOf(file);
    expect(structure?.file.equals(withoutOptional(picture))).toBe(true);
    const given = await decodePicture(file, limit, asItIs);
    expect(given.data.equals((await decodePicture(picture, limit, asItIs)).data)).toBe(true);
  });

  it('keeps what says how a PNG looks', async () => {
    const picture = await noise(40, 30)
      .withMetadata({ orientation: 6, icc: 'p3' })
      .png({ palette: true })
      .toBuffer();
    expect((await decodePicture(picture, limit, asItIs)).info).toMatchObject({ width: 30, height: 40 });
    const kept = structureOf(picture)?.file.toString('latin1') ?? '';
    for (const name of ['IHDR', 'PLTE', 'iCCP', 'eXIf', 'IDAT', 'IEND']) expect(kept).toContain(name);
  });

  it('counts the pixels by the header, before its turn comes', async () => {
    for (const format of ['png', 'jpeg', 'webp', 'gif'] as const) {
      const file = await noise(500, 400).toFormat(format).toBuffer();
      await expect(decodePicture(file, { pixels: 199_999 }, asItIs)).rejects.toMatchObject({
        code: 'ERR_PICTURE_TOO_LARGE',
        message: 'expected a picture of at most 199999 pixels, got 500×400',
      });
    }
  });

  it('reads the structure of any bytes, however they are cut or changed', async () => {
    const files = [
      await noise(60, 50).png().toBuffer(),
      progressive(32, { coefficients: 3, planes: 2 }),
      await noise(60, 50).webp().toBuffer(),
      await animation('webp'),
      await animation('gif'),
    ];
    for (const file of files) {
      for (let at = 8; at < file.length; at += 13) {
        structureOf(file.subarray(0, at));
        const changed = Buffer.from(file);
        changed[at] = (at * 7919) & 0xff;
        structureOf(changed);
      }
    }
    expect(structureOf(Buffer.from('ffd8ff', 'hex'))).toMatchObject({ scans: 0, width: 0 });
    expect(structureOf(Buffer.from('BM6'))).toBeUndefined();
  });

  describe('WebP and GIF', () => {
    it.each<[string, (picture: Sharp) => Sharp]>([
      ['a WebP with losses', (picture) => picture.webp()],
      ['a WebP without losses', (picture) => picture.webp({ lossless: true })],
      ['a transparent WebP', (picture) => picture.ensureAlpha(0.5).webp()],
      [
        'a WebP with a profile and a side to turn',
        (picture) => picture.withMetadata({ orientation: 3, icc: 'p3' }).webp(),
      ],
      ['a GIF', (picture) => picture.gif()],
    ])('%s is what sharp makes of it', async (_, make) => {
      const file = await make(noise(40, 30)).toBuffer();
      const { data, info } = await decodePicture(file, limit, asItIs);
      const expected = await sharp(file).autoOrient().raw().toBuffer();
      expect(info).toMatchObject({ width: 40, height: 30 });
      expect(data.equals(expected)).toBe(true);
      expect(structureOf(file)).toMatchObject({ width: 40, height: 30, scans: 1 });
    });

    it.each(['webp', 'gif'] as const)(
      'of an animated %s the first frame, and the decoder sees no other',
      async (format) => {
        const file = await animation(format);
        expect((await sharp(file).metadata()).pages).toBe(3);
        const kept = structureOf(file)?.file ?? Buffer.alloc(0);
        expect(kept.length).toBeLessThan(file.length / 2);
        expect((await sharp(kept).metadata()).pages ?? 1).toBe(1);
        // Whether there is transparency is said of all frames together.
        const { data, info } = await decodePicture(file, limit, (picture) => picture.ensureAlpha());
        expect(info).toMatchObject({ width: 40, height: 30 });
        expect(data.equals(await sharp(file).ensureAlpha().raw().toBuffer())).toBe(true);
      },
    );

    it('pixels are counted of whatever part says most: the canvas, the frame, the picture in it', async () => {
      const still = await noise(40, 30).webp().toBuffer();
      const moving = await animation('webp');
      const gif = await noise(40, 30).gif().toBuffer();
      const frame = gif.indexOf(Buffer.from([0x2c, 0, 0, 0, 0, 40, 0, 30, 0]));
      const bombs = [
        change(still, still.indexOf('VP8 ') + 8 + 6, [0xff, 0x3f, 0xff, 0x3f]),
        change(moving, moving.indexOf('VP8X') + 8 + 4, [0xff, 0xff, 0, 0xff, 0xff, 0]),
        change(moving, moving.indexOf('ANMF') + 8 + 6, [0xff, 0xff, 0, 0xff, 0xff, 0]),
        change(gif, 6, [0xff, 0xff, 0xff, 0xff]),
        change(gif, frame + 5, [0xff, 0xff, 0xff, 0xff]),
      ];
      for (const bomb of bombs) {
        await expect(decodePicture(bomb, limit, asItIs)).rejects.toMatchObject({
          code: 'ERR_PICTURE_TOO_LARGE',
        });
      }
    });

    it('frames without end are passed over, in files and in frames', async () => {
      const empty = Buffer.concat([Buffer.from('ANMF\x10\0\0\0', 'latin1'), Buffer.alloc(16)]);
      const moving = await animation('webp');
      const file = Buffer.concat([moving, ...Array<Buffer>(100_000).fill(empty)]);
      file.writeUInt32LE(file.length - 8, 4);
      const begin = performance.now();
      const { info } = await decodePicture(file, limit, asItIs);
      expect(info).toMatchObject({ width: 40, height: 30 });
      expect(performance.now() - begin).toBeLessThan(5000);
      // Each frame says that it holds all that follow.
      const nested = Array.from({ length: 20_000 }, (_, i) => {
        const head = Buffer.from(empty);
        head.writeUInt32LE(16 + 24 * (20_000 - i), 4);
        return head;
      });
      expect(
        structureOf(Buffer.concat([Buffer.from('RIFF\xff\xff\xff\x00WEBP', 'latin1'), ...nested]))?.width,
      ).toBe(1);
    });

    it.each(['webp', 'gif'] as const)('a cut off %s is refused', async (format) => {
      const file = await noise(200, 100).toFormat(format).toBuffer();
      await expect(decodePicture(file.subarray(0, -2000), limit, asItIs)).rejects.toMatchObject({
        code: 'ERR_PICTURE_BROKEN',
      });
    });
  });

  it('two at once, however many come; the others wait in order', async () => {
    const file = await noise(30, 30).png().toBuffer();
    let [open, most] = [0, 0];
    const order: number[] = [];
    const counted = (number: number) => (picture: Sharp) => {
      order.push(number);
      const decode = picture.toBuffer.bind(picture) as (options: {
        resolveWithObject: true;
      }) => Promise<object>;
      const toBuffer = async () => {
        most = Math.max(most, ++open);
        return decode({ resolveWithObject: true }).finally(() => open--);
      };
      return Object.assign(picture, { toBuffer });
    };
    await Promise.all(Array.from({ length: 20 }, (_, i) => decodePicture(file, limit, counted(i))));
    expect(most).toBe(2);
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('refuses more than 256 that wait, and says when to come again', async () => {
    const file = await noise(30, 30).png().toBuffer();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 260 }, () => decodePicture(file, limit, asItIs)),
    );
    const refused = outcomes.filter(({ status }) => status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThanOrEqual(4);
    for (const outcome of refused) expect(outcome).toMatchObject({ reason: expect.any(QueueFullError) });
    await decodePicture(file, limit, asItIs);
  });

  it('a caller that leaves gives its place in the line away', async () => {
    const file = await noise(30, 30).png().toBuffer();
    const caller = new AbortController();
    const started: string[] = [];
    const named = (name: string) => (picture: Sharp) => {
      started.push(name);
      return picture;
    };
    const [first, second] = ['first', 'second'].map((name) => decodePicture(file, limit, named(name)));
    const leaver = decodePicture(file, limit, named('leaver'), caller.signal);
    const last = decodePicture(file, limit, named('last'));
    caller.abort(new Error('gone'));
    await expect(leaver).rejects.toThrow('gone');
    await Promise.all([first, second, last]);
    expect(started).toEqual(['first', 'second', 'last']);
  });

  it('does not wait for ever behind others that are slow', async () => {
    const file = await noise(30, 30).png().toBuffer();
    const releases: (() => void)[] = [];
    const stuck = (picture: Sharp) =>
      Object.assign(picture, {
        toBuffer: () =>
          new Promise((_, reject) => {
            releases.push(() => {
              reject(new Error('released'));
            });
          }),
      });
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
    try {
      const slowOnes = [0, 1].map(() => decodePicture(file, limit, stuck));
      const behind = decodePicture(file, limit, asItIs);
      while (releases.length < 2) await new Promise(setImmediate);
      jest.advanceTimersByTime(30_000);
      await expect(behind).rejects.toBeInstanceOf(BatchTimeoutError);
      for (const slowOne of slowOnes)
        await expect(slowOne).rejects.toMatchObject({ code: 'ERR_PICTURE_TOO_SLOW' });
    } finally {
      jest.useRealTimers();
      for (const release of releases) release();
    }
    expect((await decodePicture(file, limit, asItIs)).info.width).toBe(30);
  });

  it('answers in time one that takes too long, and then takes others', async () => {
    const file = await noise(300, 300).png().toBuffer();
    const late = decodePicture(file, { ...limit, time: 20 }, slow);
    await expect(late).rejects.toMatchObject({
      code: 'ERR_PICTURE_TOO_SLOW',
      message: 'expected a picture that is decoded within 20 ms, got one that takes longer',
    });
    expect((await decodePicture(file, limit, asItIs)).info.width).toBe(300);
  });
});

function noise(width: number, height: number): Sharp {
  const values = Uint8Array.from(
    { length: 3 * width * height },
    (_, i) => Math.imul(i + 1, 2654435761) >>> 24,
  );
  return sharp(values, { raw: { width, height, channels: 3 } });
}

function chunk(type: string, data: Buffer): Buffer {
  const content = Buffer.concat([Buffer.from(type), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(content));
  return Buffer.concat([length, content, sum]);
}

/** The PNG with these chunks behind its header. */
function withChunks(png: Buffer, chunks: Buffer[]): Buffer {
  return Buffer.concat([png.subarray(0, 33), ...chunks, png.subarray(33)]);
}

/** sharp writes pHYs, which says how many pixels an inch has. */
function withoutOptional(png: Buffer): Buffer {
  const at = png.indexOf('pHYs') - 4;
  return at < 0 ? png : Buffer.concat([png.subarray(0, at), png.subarray(at + 21)]);
}

function segment(marker: number, data: Buffer): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0]);
  head.writeUInt16BE(data.length + 2, 2);
  return Buffer.concat([head, data]);
}

/**
 * A valid progressive JPEG, grey all over, of three components: each has one scan for its mean, then one for each bit
 * plane of each coefficient. `again` is how often the last refinement comes once more, which the standard does not allow.
 */
function progressive(
  side: number,
  { coefficients, planes, again = 0 }: { coefficients: number; planes: number; again?: number },
): Buffer {
  const blocks = Math.ceil(side / 8) ** 2;
  const scan = (component: number, at: number, high: number, low: number, data: Buffer) =>
    Buffer.concat([segment(0xda, Buffer.from([1, component, 0, at, at, (high << 4) | low])), data]);
  const dc = Buffer.alloc(Math.ceil(blocks / 8));
  // One run without coefficients: code 0 for a run of 2^14 or more, and 14 bits that say how many more.
  const noCoefficients = Buffer.from([0, 1]);
  const frame = Buffer.from([
    8,
    side >> 8,
    side & 255,
    side >> 8,
    side & 255,
    3,
    1,
    17,
    0,
    2,
    17,
    0,
    3,
    17,
    0,
  ]);
  const table = (kind: number, value: number) =>
    segment(0xc4, Buffer.from([kind, 1, ...Array<number>(15).fill(0), value]));
  const tables = segment(0xdb, Buffer.from([0, ...Array<number>(64).fill(1)]));
  const scans = [1, 2, 3].map((component) => scan(component, 0, 0, 0, dc));
  for (let at = 1; at <= coefficients; at++) {
    for (let low = planes - 1; low >= 0; low--) {
      scans.push(scan(1, at, low === planes - 1 ? 0 : low + 1, low, noCoefficients));
    }
  }
  for (let i = 0; i < again; i++) scans.push(scan(1, 1, 1, 0, noCoefficients));
  return Buffer.concat([
    Buffer.from('ffd8', 'hex'),
    tables,
    segment(0xc2, frame),
    table(0x00, 0),
    table(0x10, 0xe0),
    ...scans,
    Buffer.from('ffd9', 'hex'),
  ]);
}

/** Three frames of noise, none like the one before. */
async function animation(format: 'webp' | 'gif'): Promise<Buffer> {
  const frames = await Promise.all(
    [noise(40, 30), noise(40, 30).negate(), noise(40, 30).flop()].map((frame) => frame.png().toBuffer()),
  );
  return sharp(frames, { join: { animated: true } })
    .toFormat(format)
    .toBuffer();
}

function change(file: Buffer, at: number, bytes: number[]): Buffer {
  const changed = Buffer.from(file);
  changed.set(bytes, at);
  return changed;
}
