import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type ClientRequest, type IncomingMessage, request, type Server } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { BatchingRegistry } from 'nest-batching';
import { getTfjsModelToken, TfjsModule, type TfjsModel } from 'nest-batching/tfjs';
import sharp from 'sharp';
import { esrgan, esrganFolder } from '../apps/demo-api/src/photos/esrgan.js';
import { PhotoPlaces } from '../apps/demo-api/src/photos/photo-places.js';
import { adapters, startDemo } from './demo.js';

const boats = join(import.meta.dirname, '../apps/demo-api/public/boats.jpg');

describe.each(adapters)('POST /photos/upscale, %s', (adapter) => {
  let app: INestApplication;
  let url: string;
  beforeAll(async () => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter, MAX_PHOTO_PIXELS: '400000' }));
  });
  afterAll(() => app.close());

  const queue = () => {
    const [stats] = app
      .get(BatchingRegistry)
      .stats()
      .filter(({ name }) => name === 'TileUpscaler.upscale');
    if (!stats) throw new Error('there is no queue of tiles');
    return stats;
  };

  it("gives what the network's own package expects", async () => {
    const answer = await post(url, await readFile(join(esrganFolder, 'assets/fixture.png')));
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('image/png');
    const given = await pixelsOf(Buffer.from(await answer.arrayBuffer()));
    const expected = await pixelsOf(await readFile(join(esrganFolder, 'assets/samples/2x/result.png')));
    expect([given.width, given.height]).toEqual([256, 256]);
    const { mean, most } = difference(given.data, expected.data);
    expect(mean).toBeLessThan(0.1);
    expect(most).toBeLessThanOrEqual(1);
  });

  it('takes a JPEG, and tells how far it is', async () => {
    const photo = await part(300, 148);
    const [plain, stream] = await Promise.all([
      post(url, photo, { 'content-type': 'image/jpeg' }),
      post(url, photo, { 'content-type': 'image/jpeg', accept: 'text/event-stream' }),
    ]);
    expect(stream.status).toBe(200);
    expect(stream.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const events = eventsOf(await stream.text());
    expect(events.slice(0, -1)).toEqual(
      Array.from({ length: 11 }, (_, done) => ({ event: 'progress', data: { done, total: 10 } })),
    );
    const { event, data } = events.at(-1) ?? {};
    expect(event).toBe('picture');
    const picture = Buffer.from((data as { png: string }).png, 'base64');
    expect(picture.equals(Buffer.from(await plain.arrayBuffer()))).toBe(true);
    expect(await pixelsOf(picture)).toMatchObject({ width: 600, height: 296 });
  });

  it.each(['webp', 'gif'] as const)('takes a %s', async (format) => {
    const photo = await sharp(await part(100, 90))
      .toFormat(format)
      .toBuffer();
    const answer = await post(url, photo, { 'content-type': `image/${format}` });
    expect(answer.status).toBe(200);
    const enlarged = Buffer.from(await answer.arrayBuffer());
    expect(await pixelsOf(enlarged)).toMatchObject({ width: 200, height: 180 });
  });

  it('runs tiles of several photos in one batch', async () => {
    const sizes: number[] = [];
    const stop = app.get(BatchingRegistry).onBatch(({ size }) => sizes.push(size));
    // Three tiles each, so that no photo can fill a batch of four.
    const photos = await Promise.all(Array.from({ length: 4 }, () => part(212, 84)));
    const answers = await Promise.all(
      photos.map((photo) => post(url, photo, { 'content-type': 'image/jpeg' })),
    );
    stop();
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    await Promise.all(answers.map((answer) => answer.arrayBuffer()));
    expect(sizes.reduce((sum, size) => sum + size)).toBe(12);
    expect(sizes).toContain(4);
  });

  it.each([
    ['a PNG', 'image/png'],
    ['events', 'text/event-stream'],
  ])('runs no more tiles once the connection is closed, for a client that wanted %s', async (_, accept) => {
    const { results, drops } = queue();
    const headers = { 'content-type': 'image/png', accept };
    const leaver = request(`${url}/photos/upscale`, { method: 'POST', headers });
    leaver.on('error', () => undefined);
    leaver.on('response', (response) => response.resume());
    leaver.end(await grey(600, 600));
    await until(() => queue().results > results);
    leaver.destroy();
    await until(() => queue().drops.aborted > drops.aborted);
    await until(() => queue().waiting + queue().running === 0);
    // Those that were running when it left, and perhaps a batch before.
    expect(queue().results - results).toBeLessThanOrEqual(12);
    expect(queue().drops.aborted - drops.aborted).toBeLessThanOrEqual(8);
  });

  describe.each(['image/png', 'text/event-stream'])('refuses, as JSON, where %s was wanted:', (accept) => {
    it.each<[string, string, number, string, string, () => Promise<Buffer> | Buffer]>([
      ['nothing', 'image/png', 400, 'ERR_PICTURE_EMPTY', 'got 0 bytes', () => Buffer.alloc(0)],
      [
        'a text',
        'text/plain',
        415,
        'ERR_BODY_TYPE',
        'image/png, image/jpeg, image/webp, image/gif',
        () => Buffer.from('photo'),
      ],
      [
        'a BMP',
        'image/png',
        422,
        'ERR_PICTURE_FORMAT',
        'a PNG, JPEG, WebP or GIF picture',
        () => Buffer.from('BM6'),
      ],
      [
        'half a picture',
        'image/png',
        422,
        'ERR_PICTURE_BROKEN',
        'cannot be decoded',
        async () => (await part(300, 200)).subarray(0, 5000),
      ],
      [
        'too many pixels',
        'image/png',
        413,
        'ERR_PICTURE_TOO_LARGE',
        'at most 400000 pixels',
        () => grey(633, 633),
      ],
      [
        'a long line',
        'image/png',
        413,
        'ERR_PICTURE_TOO_LARGE',
        'a side below 84 counts as 84, got 5000×1',
        () => grey(5000, 1),
      ],
      [
        'too many bytes',
        'image/jpeg',
        413,
        'ERR_BODY_TOO_LARGE',
        'at most 4200000 bytes, got 4200001',
        () => Buffer.alloc(4_200_001),
      ],
    ])('%s', async (_, type, status, code, words, make) => {
      const answer = await post(url, await make(), { 'content-type': type, accept });
      expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
      expect(await answer.json()).toMatchObject({
        statusCode: status,
        code,
        message: expect.stringContaining(words),
      });
      expect(answer.status).toBe(status);
    });
  });

  it('refuses a photo before its body comes while 16 are in progress, until one of them is done', async () => {
    const places = app.get(PhotoPlaces);
    const [leave, ...others] = Array.from({ length: 16 }, () => places.take());
    const late = slowUpload();
    const [refusal] = (await once(late, 'response')) as [IncomingMessage];
    expect(refusal.statusCode).toBe(503);
    expect(refusal.headers['retry-after']).toBe('5');
    expect(await json(refusal)).toMatchObject({ statusCode: 503, code: 'ERR_BATCHING_FULL' });
    late.destroy();

    leave?.();
    const answer = await post(url, await grey(84, 84));
    expect(answer.status).toBe(200);
    for (const end of others) end();
  });

  it('enlarges a photo while more clients than there are places send theirs slowly', async () => {
    const server = app.getHttpServer() as Server;
    let heads = 0;
    const count = () => heads++;
    server.on('request', count);
    const uploads = Array.from({ length: 20 }, slowUpload);
    await until(() => heads === 20);
    server.off('request', count);
    const answer = await post(url, await grey(84, 84));
    expect(answer.status).toBe(200);
    for (const upload of uploads) upload.destroy();
  });

  /** Its body does not come. */
  function slowUpload(): ClientRequest {
    const headers = { 'content-type': 'image/png', 'content-length': 1000 };
    const upload = request(`${url}/photos/upscale`, { method: 'POST', headers });
    upload.on('error', () => undefined);
    upload.flushHeaders();
    return upload;
  }

  // The last one, as its queue has then been stopped.
  it('ends the events with what went wrong after they had begun', async () => {
    const stream = await post(url, await grey(400, 400), { accept: 'text/event-stream' });
    const text = stream.text();
    await until(() => queue().running > 0);
    await app.get(BatchingRegistry).stop({ hard: true });
    const events = eventsOf(await text);
    expect(events[0]).toEqual({ event: 'progress', data: { done: 0, total: 36 } });
    expect(events.at(-1)).toEqual({
      event: 'error',
      data: {
        statusCode: 503,
        error: 'Service Unavailable',
        message: 'TileUpscaler.upscale was stopped',
        code: 'ERR_BATCHING_STOPPED',
      },
    });
  });
});

describe('The tiles, joined,', () => {
  // Across, neighbours share 20 pixels and no more. Down, they would share 12 if the network saw only 6 far.
  const [width, height] = [212, 156];

  let whole: TestingModule;
  let demo: { app: INestApplication; url: string };
  beforeAll(async () => {
    whole = await Test.createTestingModule({
      imports: [
        TfjsModule.forRoot({ backend: 'wasm' }),
        TfjsModule.forFeature([{ name: 'whole', path: esrgan.path, inputShape: [height, width, 3] }]),
      ],
    }).compile();
    demo = await startDemo({ BACKEND: 'wasm' });
  });
  afterAll(async () => {
    await demo.app.close();
    await whole.close();
  });

  it('are what the network gives for the whole photo, up to its edges', async () => {
    const raw = await sharp(await part(width, height))
      .raw()
      .toBuffer();
    const [expected] = await whole.get<TfjsModel>(getTfjsModelToken('whole')).predict([raw]);
    const photo = await sharp(raw, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    const answer = await post(demo.url, photo);
    const given = await pixelsOf(Buffer.from(await answer.arrayBuffer()));
    expect(given).toMatchObject({ width: 2 * width, height: 2 * height });
    // What lies between two bytes may be rounded either way.
    const { mean, most } = difference(given.data, new Uint8ClampedArray(expected ?? []));
    expect(most).toBeLessThanOrEqual(1);
    expect(mean).toBeLessThan(0.001);
  });
});

function post(url: string, body: Buffer, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}/photos/upscale`, {
    method: 'POST',
    headers: { 'content-type': 'image/png', accept: 'image/png', ...headers },
    body: new Uint8Array(body),
  });
}

function eventsOf(text: string): { event: string; data: unknown }[] {
  expect(text.endsWith('\n\n')).toBe(true);
  return text
    .slice(0, -2)
    .split('\n\n')
    .map((block) => {
      const [, event = '', data = ''] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? [];
      return { event, data: JSON.parse(data) as unknown };
    });
}

/** A part of the sample. */
function part(width: number, height: number): Promise<Buffer> {
  return sharp(boats).extract({ left: 60, top: 60, width, height }).jpeg().toBuffer();
}

function grey(width: number, height: number): Promise<Buffer> {
  return sharp({ create: { width, height, channels: 3, background: '#888' } })
    .png()
    .toBuffer();
}

async function pixelsOf(picture: Buffer): Promise<{ data: Buffer; width: number; height: number }> {
  const { data, info } = await sharp(picture).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height };
}

function difference(one: ArrayLike<number>, other: ArrayLike<number>): { mean: number; most: number } {
  expect(one.length).toBe(other.length);
  let [sum, most] = [0, 0];
  for (let i = 0; i < one.length; i++) {
    const difference = Math.abs((one[i] ?? 0) - (other[i] ?? 0));
    sum += difference;
    most = Math.max(most, difference);
  }
  return { mean: sum / one.length, most };
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 30_000;
  while (!condition() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
}
