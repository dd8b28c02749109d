import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { Agent, request, STATUS_CODES } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { crc32, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { OpenAPIObject } from '@nestjs/swagger';
import { BatchingRegistry } from 'nest-batching';
import { getTfjsModelToken, type ModelInput, type TfjsModel } from 'nest-batching/tfjs';
import { Shutdown } from '@app/serving';
import sharp from 'sharp';
import type { Digit } from '../apps/demo-api/src/digits/digit-classifier.js';
import { type LabelledDigit, loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { adapters, type Answer, type Body, liveView, postJson, send, startDemo } from './demo.js';

let digits: readonly LabelledDigit[];
let pixels: number[];

const bytesType = 'application/octet-stream';
/** A picture without ink, to put something wrong into. */
const blank: readonly unknown[] = Array.from({ length: 784 }, () => 0);
/** What the messages call a pixel, a picture, pictures. */
const pixel = 'an integer from 0 to 255';
const picture = 'an array of 784 integers from 0 to 255';
const pictures = 'arrays of 784 integers from 0 to 255';
const containing = (words: string) => expect.stringContaining(words);

beforeAll(async () => {
  digits = await loadTestDigits();
  pixels = [...(digits[0]?.pixels ?? [])];
});

describe.each(adapters)('The demo over HTTP, %s', (adapter) => {
  let app: INestApplication;
  let url: string;
  beforeAll(async () => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter }));
  });
  afterAll(() => app.close());

  describe('POST /digits', () => {
    it('reads 784 numbers', async () => {
      const { status, headers, body } = await postJson(`${url}/digits`, { pixels });
      const { digit, confidence, scores } = JSON.parse(body) as Digit;
      expect(status).toBe(200);
      expect(headers['content-type']).toBe('application/json; charset=utf-8');
      expect(digit).toBe(7);
      expect(scores).toHaveLength(10);
      expect(confidence).toBe(Math.max(...scores));
      expect(scores[7]).toBe(confidence);
      expect(scores.reduce((sum, score) => sum + score)).toBeCloseTo(1, 5);
    });

    it.each(['png', 'jpeg'] as const)(
      'reads a picture of type %s, of any size, dark on light',
      async (type) => {
        for (const index of [0, 1, 2, 3, 4]) {
          const { pixels: ink, label } = digitAt(index);
          const body = await sharp(ink, { raw: { width: 28, height: 28, channels: 1 } })
            .resize(300)
            .extend({ left: 90, bottom: 40, background: '#000' })
            .negate()
            .toFormat(type)
            .toBuffer();
          const answer = await send(
            `${url}/digits`,
            { method: 'POST', headers: { 'content-type': `image/${type}` } },
            body,
          );
          expect(answer.status).toBe(200);
          expect(JSON.parse(answer.body)).toMatchObject({ digit: label });
        }
      },
    );

    it('gives every caller its own answer, whatever the others in the batch send', async () => {
      const bad = ['{"pixels":[1]}', '{', '', 'null', JSON.stringify({ pixels: pixels.with(3, 256) })];
      const answers = await Promise.all(
        Array.from({ length: 114 }, (_, i) => {
          if (i % 3 !== 0) return postJson(`${url}/digits`, { pixels: [...digitAt(i).pixels] });
          const options = { method: 'POST', headers: { 'content-type': 'application/json' } };
          return send(`${url}/digits`, options, bad[(i / 3) % bad.length]);
        }),
      );
      answers.forEach(({ status, body }, i) => {
        expect(status).toBe(i % 3 === 0 ? 400 : 200);
        // The network misreads none of the first 115.
        if (status === 200) expect(JSON.parse(body)).toMatchObject({ digit: digitAt(i).label });
      });
    });
  });

  describe('POST /digits/many', () => {
    it('answers in order, 1 to 256 images', async () => {
      for (const count of [1, 2, 256]) {
        const images = digits.slice(0, count).map((digit) => [...digit.pixels]);
        const many = await postJson(`${url}/digits/many`, { images });
        const one = await Promise.all(images.map((image) => postJson(`${url}/digits`, { pixels: image })));
        expect(many.status).toBe(200);
        const answers = JSON.parse(many.body) as Digit[];
        expect(answers).toHaveLength(count);
        answers.forEach((answer, i) => {
          const alone = JSON.parse(one[i]?.body ?? '') as Digit;
          expect(answer.digit).toBe(alone.digit);
          expect(answer.confidence).toBeCloseTo(alone.confidence, 5);
        });
      }
    });
  });

  describe('Bytes', () => {
    const post = (path: string, body: Body, headers: object = {}) =>
      send(`${url}${path}`, { method: 'POST', headers: { 'content-type': bytesType, ...headers } }, body);
    const json = async (path: string, body: object) =>
      JSON.parse((await postJson(`${url}${path}`, body)).body) as unknown;

    it('of one digit give the same answer as its numbers, whatever parameters the type has', async () => {
      for (const headers of [{}, { 'content-type': 'Application/Octet-Stream; x=y' }]) {
        const answer = await post('/digits', bytesOf(0, 1), headers);
        expect(answer.status).toBe(200);
        expect(answer.headers['content-type']).toBe('application/json; charset=utf-8');
        const digit = JSON.parse(answer.body) as Digit;
        expect(digit.digit).toBe(7);
        expectClose([digit], [(await json('/digits', { pixels })) as Digit]);
      }
    });

    it.each([1, 2, 64, 256])('of %d digits are answered in order, as their numbers are', async (count) => {
      const answer = await post('/digits/many', bytesOf(0, count));
      expect(answer.status).toBe(200);
      const images = digits.slice(0, count).map((digit) => [...digit.pixels]);
      expectClose(JSON.parse(answer.body) as Digit[], (await json('/digits/many', { images })) as Digit[]);
    });

    it('of unknown length, in pieces that are no pictures, are read', async () => {
      const bytes = bytesOf(3, 5);
      const pieces = Array.from({ length: 40 }, (_, i) => bytes.subarray(i * 100, (i + 1) * 100));
      const answer = await post('/digits/many', Readable.from(pieces));
      expect((JSON.parse(answer.body) as Digit[]).map(({ digit }) => digit)).toEqual(
        [3, 4, 5, 6, 7].map((index) => digitAt(index).label),
      );
    });

    it.each([
      ['/digits', 'nothing', 0, 400, 'ERR_BODY_EMPTY', 'expected 784 bytes, got an empty body'],
      ['/digits', 'a byte too few', 783, 400, 'ERR_INVALID', 'the body: expected 784 bytes, got 783 bytes'],
      ['/digits', 'two digits', 1568, 400, 'ERR_INVALID', 'the body: expected 784 bytes, got 1568 bytes'],
      [
        '/digits',
        'too much',
        32_001,
        413,
        'ERR_BODY_TOO_LARGE',
        'expected a body of at most 32000 bytes, got 32001',
      ],
      [
        '/digits/many',
        'nothing',
        0,
        400,
        'ERR_BODY_EMPTY',
        'expected a multiple of 784 bytes, at most 200704 bytes, got an empty body',
      ],
      [
        '/digits/many',
        'no multiple',
        1000,
        400,
        'ERR_INVALID',
        'the body: expected a multiple of 784 bytes, at most 200704 bytes, got 1000 bytes',
      ],
      [
        '/digits/many',
        '257 digits',
        257 * 784,
        400,
        'ERR_INVALID',
        'the body: expected a multiple of 784 bytes, at most 200704 bytes, got 201488 bytes',
      ],
      [
        '/digits/many',
        'too much',
        1_500_001,
        413,
        'ERR_BODY_TOO_LARGE',
        'expected a body of at most 1500000 bytes, got 1500001',
      ],
    ])('POST %s with %s is refused', async (path, _, length, statusCode, code, message) => {
      expect(errorOf(await post(path, Buffer.alloc(length)))).toMatchObject({ statusCode, code, message });
    });

    it('that are compressed are refused', async () => {
      const error = errorOf(await post('/digits', gzipSync(bytesOf(0, 1)), { 'content-encoding': 'gzip' }));
      expect(error).toMatchObject({ statusCode: 415, code: 'ERR_BODY_TYPE' });
    });

    it('are read as the README says', async () => {
      const readme = readFileSync(new URL('../apps/demo-api/README.md', import.meta.url), 'utf8');
      const [, commands = ''] = /```sh\n([^`]*octet-stream[^`]*)```/.exec(readme) ?? [];
      const folder = mkdtempSync(join(tmpdir(), 'demo-readme-'));
      try {
        symlinkSync(fileURLToPath(new URL('../node_modules', import.meta.url)), join(folder, 'node_modules'));
        const { stdout } = await promisify(execFile)(
          'sh',
          ['-ec', commands.replaceAll('localhost:3000', new URL(url).host)],
          { cwd: folder },
        );
        expect((JSON.parse(stdout) as Digit[]).map(({ digit }) => digit)).toEqual([7, 2]);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });

  describe('GET /digits/samples', () => {
    it('draws real test digits, the same for the same seed, none twice', async () => {
      const [first, again, other] = await Promise.all(
        [1, 1, 2].map(async (seed) => (await send(`${url}/digits/samples?count=50&seed=${seed}`, {})).body),
      );
      expect(again).toBe(first);
      expect(other).not.toBe(first);
      const samples = JSON.parse(first ?? '') as { pixels: number[]; label: number }[];
      const known = new Map(digits.map((digit) => [digit.pixels.join(), digit.label]));
      expect(samples).toHaveLength(50);
      expect(new Set(samples.map((sample) => sample.pixels.join())).size).toBe(50);
      for (const sample of samples) expect(sample.label).toBe(known.get(sample.pixels.join()));
    });

    it('draws 100 if not asked for a number, and 1000 at most', async () => {
      expect(JSON.parse((await send(`${url}/digits/samples`, {})).body)).toHaveLength(100);
      expect(JSON.parse((await send(`${url}/digits/samples?count=1000`, {})).body)).toHaveLength(1000);
    });
  });

  describe('Bad input gets an answer that says what was expected and what came', () => {
    const json = 'application/json';
    const post = (path: string, type: string | undefined, body: Body, headers = {}) =>
      send(
        `${url}${path}`,
        { method: 'POST', headers: { ...(type && { 'content-type': type }), ...headers } },
        body,
      );
    const with9 = (value: unknown) => JSON.stringify({ pixels: blank.with(9, value) });

    it.each([
      ['too few numbers', '{"pixels":[1,2,3]}', `pixels: expected ${picture}, got an array of 3`],
      [
        'too many numbers',
        JSON.stringify({ pixels: [...blank, 0] }),
        `pixels: expected ${picture}, got an array of 785`,
      ],
      ['no numbers', '{"pixels":[]}', `pixels: expected ${picture}, got an empty array`],
      ['a word among them', with9('ink'), `pixels[9]: expected ${pixel}, got 'ink'`],
      ['null among them', with9(null), `pixels[9]: expected ${pixel}, got null`],
      ['an array among them', with9([1]), `pixels[9]: expected ${pixel}, got an array of 1`],
      ['a fraction', with9(0.5), `pixels[9]: expected ${pixel}, got 0.5`],
      ['a negative number', with9(-1), `pixels[9]: expected ${pixel}, got -1`],
      ['256', with9(256), `pixels[9]: expected ${pixel}, got 256`],
      ['infinity', with9(9).replace('9', '1e999'), `pixels[9]: expected ${pixel}, got Infinity`],
      ['a word for all', '{"pixels":"seven"}', `pixels: expected ${picture}, got 'seven'`],
      ['another name', '{"pixel":[]}', `pixels: expected ${picture}, got nothing`],
      ['an array for all', '[1]', 'the body: expected an object with pixels, got an array of 1'],
      ['null for all', 'null', 'the body: expected an object with pixels, got null'],
    ])('POST /digits with %s', async (_, body, message) => {
      expect(errorOf(await post('/digits', json, body))).toMatchObject({
        statusCode: 400,
        code: 'ERR_INVALID',
        message,
      });
    });

    it.each([
      ['no images', { images: [] }, `images: expected an array of 1 to 256 ${pictures}, got an empty array`],
      [
        '257 images',
        { images: Array(257).fill(blank) },
        `images: expected an array of 1 to 256 ${pictures}, got an array of 257`,
      ],
      [
        'a short one',
        { images: [blank, [1, 2], blank] },
        `images[1]: expected ${picture}, got an array of 2`,
      ],
      ['a word in one', { images: [blank, blank.with(7, 'x')] }, `images[1][7]: expected ${pixel}, got 'x'`],
      [
        'one image alone',
        { pixels: blank },
        `images: expected an array of 1 to 256 ${pictures}, got nothing`,
      ],
    ])('POST /digits/many with %s', async (_, body, message) => {
      const answer = await postJson(`${url}/digits/many`, body);
      expect(errorOf(answer)).toMatchObject({ statusCode: 400, code: 'ERR_INVALID', message });
    });

    it.each([
      ['nothing', '', 'ERR_BODY_EMPTY', 'got an empty body'],
      ['cut off JSON', '{"pixels": [1, 2', 'ERR_BODY_NOT_JSON', 'the body is not JSON'],
      ['a word', 'seven', 'ERR_BODY_NOT_JSON', 'the body is not JSON'],
      ['UTF-16', Buffer.from('{}', 'utf16le'), 'ERR_BODY_NOT_JSON', 'the body is not JSON'],
      ['Latin-1', Buffer.from('{"ä":1}', 'latin1'), 'ERR_BODY_NOT_JSON', 'not valid for encoding utf-8'],
      [
        'node-postgres#2080: half a surrogate pair',
        '{"a":"\\uD83D"}',
        'ERR_BODY_NOT_JSON',
        'half a surrogate pair',
      ],
      ['half a surrogate pair as a name', '{"\\udc00":1}', 'ERR_BODY_NOT_JSON', 'half a surrogate pair'],
      ['a whole surrogate pair', '{"a":"\\ud83d\\ude00"}', 'ERR_INVALID', 'got nothing'],
      ['arrays, 10,000 deep', '['.repeat(10_000) + ']'.repeat(10_000), 'ERR_INVALID', 'got an array of 1'],
    ])('%s for JSON', async (_, body, code, words) => {
      for (const path of ['/digits', '/digits/many']) {
        expect(errorOf(await post(path, json, body))).toMatchObject({
          statusCode: 400,
          code,
          message: containing(words),
        });
      }
    });

    it.each([
      [
        'a text',
        '/digits',
        'text/plain',
        'image/png, image/jpeg, image/webp, image/gif, uncompressed; got text/plain',
      ],
      ['a form', '/digits', 'multipart/form-data; boundary=x', 'got multipart/form-data'],
      ['no type', '/digits', undefined, 'got none'],
      ['a strange type', '/digits', '__proto__', 'got __proto__'],
      [
        'a picture for many',
        '/digits/many',
        'image/png',
        'expected a body with Content-Type application/json, application/octet-stream, uncompressed; got image/png',
      ],
      [
        'bytes for a photo',
        '/photos/upscale',
        bytesType,
        'expected a body with Content-Type image/png, image/jpeg, image/webp, image/gif, uncompressed; got application/octet-stream',
      ],
    ])('%s: 415', async (_, path, type, words) => {
      const error = errorOf(await post(path, type, '7'));
      expect(error).toMatchObject({ statusCode: 415, code: 'ERR_BODY_TYPE', message: containing(words) });
    });

    it('compressed JSON: 415', async () => {
      const error = errorOf(await post('/digits', json, gzipSync('{}'), { 'content-encoding': 'gzip' }));
      expect(error).toMatchObject({ statusCode: 415, message: containing('with Content-Encoding gzip') });
    });

    it.each<[string, number, string, string, () => Promise<Buffer> | Buffer]>([
      ['nothing', 400, 'ERR_PICTURE_EMPTY', 'got 0 bytes', () => Buffer.alloc(0)],
      [
        'a BMP',
        422,
        'ERR_PICTURE_FORMAT',
        'expected a PNG, JPEG, WebP or GIF picture',
        () => Buffer.from('BM6'),
      ],
      [
        'an SVG',
        422,
        'ERR_PICTURE_FORMAT',
        'expected a PNG, JPEG, WebP or GIF picture',
        () => Buffer.from('<svg/>'),
      ],
      [
        'a cut off PNG',
        422,
        'ERR_PICTURE_BROKEN',
        'cannot be decoded',
        async () => (await noise('png')).subarray(0, -3000),
      ],
      [
        'a cut off JPEG',
        422,
        'ERR_PICTURE_BROKEN',
        'cannot be decoded',
        async () => (await noise('jpeg')).subarray(0, -3000),
      ],
      ['blank paper', 422, 'ERR_PICTURE_BLANK', 'stands out from its background', () => paper(100, 100)],
      ['a bomb', 413, 'ERR_PICTURE_TOO_LARGE', 'got 16000×16000', () => bomb(16_000)],
      [
        '8 MB and a byte',
        413,
        'ERR_BODY_TOO_LARGE',
        'at most 8000000 bytes, got 8000001',
        () => Buffer.alloc(8_000_001),
      ],
    ])('%s for a picture', async (_, statusCode, code, words, make) => {
      const error = errorOf(await post('/digits', 'image/png', await make()));
      expect(error).toMatchObject({ statusCode, code, message: containing(words) });
    });

    it('too much JSON, and keeps the connection', async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const tooMuch = { agent, method: 'POST', headers: { 'content-type': json } };
      const error = errorOf(await send(`${url}/digits`, tooMuch, ' '.repeat(40_000)));
      const message = 'expected a body of at most 32000 bytes, got 40000';
      expect(error).toMatchObject({
        statusCode: 413,
        code: 'ERR_BODY_TOO_LARGE',
        message,
        details: { limit: 32_000 },
      });
      const next = await postJson(`${url}/digits`, { pixels }, { agent });
      expect(next.status).toBe(200);
      expect(next.reusedSocket).toBe(true);
      agent.destroy();
    });

    it.each([
      ['JSON', json, 40, 1000],
      ['pictures', 'image/jpeg', 90, 100_000],
    ])('too much of %s, of unknown length', async (_, type, chunks, size) => {
      const error = errorOf(
        await post('/digits', type, Readable.from(Array.from({ length: chunks }, () => Buffer.alloc(size)))),
      );
      expect(error).toMatchObject({
        statusCode: 413,
        code: 'ERR_BODY_TOO_LARGE',
        message: containing('got more'),
      });
    });

    it.each([
      ['count=0', 'count: expected an integer from 1 to 1000, got 0'],
      ['count=1001', 'count: expected an integer from 1 to 1000, got 1001'],
      ['count=1e999', 'count: expected an integer from 1 to 1000, got Infinity'],
      ['count=ten', "count: expected an integer from 1 to 1000, got 'ten'"],
      ['count=', "count: expected an integer from 1 to 1000, got ''"],
      ['count=1&count=2', 'count: expected an integer from 1 to 1000, got an array of 2'],
      ['seed=-1', 'seed: expected an integer from 0 to 4294967295, got -1'],
    ])('GET /digits/samples?%s', async (query, message) => {
      const error = errorOf(await send(`${url}/digits/samples?${query}`, {}));
      expect(error).toMatchObject({ statusCode: 400, code: 'ERR_INVALID', message });
    });

    it.each(['/digits/samples?count=%ff', '/digits/samples?x=%ED%A0%80', '/?%', '/%c3'])(
      'GET %s, which is not UTF-8',
      async (path) => {
        expect(errorOf(await send(`${url}${path}`, {}))).toMatchObject({
          statusCode: 400,
          error: 'Bad Request',
        });
      },
    );

    it.each([
      ['GET', '/digit?x=1', 404, 'ERR_NO_SUCH_ROUTE', 'There is no /digit here; /docs lists what there is.'],
      ['POST', '/digit', 404, 'ERR_NO_SUCH_ROUTE', 'There is no /digit here; /docs lists what there is.'],
      [
        'GET',
        '/page/nothing.js',
        404,
        'ERR_NO_SUCH_ROUTE',
        'There is no /page/nothing.js here; /docs lists what there is.',
      ],
      ['GET', '/digits', 405, 'ERR_METHOD', '/digits takes POST, not GET.'],
      ['PUT', '/health/live', 405, 'ERR_METHOD', '/health/live takes GET, not PUT.'],
    ])('%s %s', async (method, path, statusCode, code, message) => {
      const options = { method, headers: { 'content-type': 'no type' } };
      const error = errorOf(await send(`${url}${path}`, options, method === 'GET' ? undefined : '{'));
      expect(error).toMatchObject({ statusCode, code, message });
    });

    it('a path that is none', async () => {
      const answer = await send(`${url}/%zz`, {});
      expect([400, 404]).toContain(answer.status);
      errorOf(answer);
    });

    it('says which methods there are', async () => {
      const answer = await send(`${url}/digits`, { method: 'DELETE' });
      expect(answer.status).toBe(405);
      expect(answer.headers.allow).toBe('POST');
    });

    it('lists the problem and the accepted types for programs', async () => {
      expect(errorOf(await post('/digits', json, '{"pixels":[1]}')).details).toEqual([
        { path: 'pixels', expected: 'an array of 784 integers from 0 to 255', received: 'an array of 1' },
      ]);
      expect(errorOf(await post('/digits', 'a/b', '')).details).toEqual({
        accepted: [json, bytesType, 'image/png', 'image/jpeg', 'image/webp', 'image/gif'],
      });
    });
  });

  it('GET /metrics has what the queues, the networks and the process do', async () => {
    const { status, headers, body } = await send(`${url}/metrics`, {});
    expect(status).toBe(200);
    expect(headers).toMatchObject({
      'content-type': 'text/plain; version=0.0.4; charset=utf-8',
      'cache-control': 'no-store',
    });
    expect(body).toMatch(/^batching_submitted_total\{queue="DigitClassifier\.classify"\} \d+$/m);
    expect(body).toMatch(/^batching_slo_seconds\{queue="DigitClassifier\.classify"\} 0\.2$/m);
    expect(body).toMatch(/^batching_model_seconds_count\{model="digits",step="run"\} \d+$/m);
    expect(body).toMatch(/^batching_model_ready\{model="esrgan"\} 1$/m);
    expect(body).toMatch(/^batching_model_tensors\{runtime="TfjsModule"\} [1-9]\d*$/m);
    expect(body).toMatch(/^process_cpu_seconds_total /m);
  });

  describe('GET /health', () => {
    it('is live and ready', async () => {
      expect(JSON.parse((await send(`${url}/health/live`, {})).body)).toEqual({ status: 'live' });
      const ready = await send(`${url}/health/ready`, {});
      expect(ready.status).toBe(200);
      expect(JSON.parse(ready.body)).toMatchObject({
        status: 'ready',
        device: expect.stringContaining('PU'),
      });
    });
  });

  describe('GET /docs', () => {
    let document: OpenAPIObject;
    beforeAll(async () => {
      document = JSON.parse((await send(`${url}/docs/openapi.json`, {})).body) as OpenAPIObject;
    });

    it('documents every route, with its errors', () => {
      const operations = Object.entries(document.paths).flatMap(([path, item]) =>
        Object.entries(item as Record<string, { summary: string; responses: object }>).map(
          ([method, { summary, responses }]) => {
            expect(summary).toBeTruthy();
            return `${method} ${path}: ${Object.keys(responses).join(' ')}`;
          },
        ),
      );
      expect(operations).toEqual([
        'post /digits: 200 400 408 413 415 422 500 503 504',
        'post /digits/many: 200 400 408 413 415 500 503 504',
        'get /digits/samples: 200 400 500',
        'post /photos/upscale: 200 400 408 413 415 422 500 503 504',
        'post /race: 200 400 409 500 503',
        'get /health/live: 200 500 503',
        'get /health/ready: 200 500 503',
        'get /queues/live: 200 500 503',
        'get /metrics: 200 500',
      ]);
    });

    it('documents bodies, with examples that the server takes', async () => {
      let examples = 0;
      for (const [path, { post }] of Object.entries(document.paths)) {
        if (!post?.requestBody || !('content' in post.requestBody)) continue;
        for (const [type, { schema, examples: given }] of Object.entries(post.requestBody.content)) {
          if (type !== 'application/json') expect(schema).toMatchObject({ type: 'string', format: 'binary' });
          for (const example of Object.values(given ?? {})) {
            expect((await postJson(`${url}${path}`, (example as { value: object }).value)).status).toBe(200);
            examples++;
          }
        }
      }
      expect(examples).toBe(2);
      const content = (document.paths['/digits']?.post?.requestBody as { content: object }).content;
      expect(Object.keys(content)).toEqual([
        'application/json',
        bytesType,
        'image/png',
        'image/jpeg',
        'image/webp',
        'image/gif',
      ]);
      expect(content).toHaveProperty([bytesType, 'schema', 'description'], '784 bytes');
      expect(document.paths['/digits/many']?.post?.requestBody).toHaveProperty(
        ['content', bytesType, 'schema', 'description'],
        '784 bytes of each of 1 to 256 images',
      );
    });

    it('points to no schema that is not there', () => {
      const text = JSON.stringify(document);
      const names = [...text.matchAll(/#\/components\/schemas\/(\w+)/g)].map(([, name]) => name ?? '');
      expect(new Set(names)).toEqual(
        new Set([
          ...[
            'Digit',
            'Journey',
            'Sample',
            'Progress',
            'Grid',
            'Tile',
            'Picture',
            'Lane',
            'RaceProgress',
            'RaceResult',
          ],
          ...['Live', 'Queue', 'Summary', 'Batch', 'Error'],
        ]),
      );
      for (const name of names) expect(document.components?.schemas).toHaveProperty(name);
    });

    it('shows it', async () => {
      const page = await send(`${url}/docs`, {});
      expect(page.status).toBe(200);
      for (const [, file] of page.body.matchAll(/(?:src|href)="(\/[^"]*)"/g)) {
        expect((await send(`${url}${file ?? ''}`, {})).status).toBe(200);
      }
    });
  });

  describe('The page', () => {
    it.each([
      ['/', 'text/html; charset=utf-8'],
      ['/photos', 'text/html; charset=utf-8'],
      ['/docs', 'text/html; charset=utf-8'],
      ['/page/style.css', 'text/css; charset=utf-8'],
      ['/page/app.js', 'text/javascript; charset=utf-8'],
      ['/page/icon.svg', 'image/svg+xml'],
    ])('serves %s as %s, and again only when it has changed', async (path, type) => {
      const { status, headers, body } = await send(`${url}${path}`, {});
      expect(status).toBe(200);
      expect(headers['content-type']).toBe(type);
      expect(Number(headers['content-length'])).toBe(Buffer.byteLength(body));
      expect(headers['cache-control']).toBe('no-cache');
      const again = await send(`${url}${path}`, { headers: { 'if-none-match': String(headers.etag) } });
      expect(again).toMatchObject({ status: 304, body: '' });
    });

    it.each(['/', '/digits', '/health/live', '/nowhere'])(
      'protects what is behind %s with headers',
      async (path) => {
        const { headers } = await send(`${url}${path}`, {});
        expect(headers['content-security-policy']).toContain("default-src 'self'");
        expect(headers['x-content-type-options']).toBe('nosniff');
        expect(headers).not.toHaveProperty('x-powered-by');
      },
    );

    it.each(['/page/..%2fsrc%2fmain.ts', '/page/%2e%2e/tsconfig.app.json', '/page/__proto__'])(
      'serves nothing else: %s',
      async (path) => {
        expect((await send(`${url}${path}`, {})).status).toBe(404);
      },
    );
  });

  describe('?journey=true', () => {
    interface Travelled {
      journey: { batch: number; size: number; place: number; reason: string; waited: number; ran: number };
    }

    it('tells how a digit travelled', async () => {
      const started = performance.now();
      const { journey } = JSON.parse(
        (await postJson(`${url}/digits?journey=true`, { pixels })).body,
      ) as Travelled;
      const took = performance.now() - started;
      expect(journey).toMatchObject({ size: 1, place: 0, reason: expect.stringMatching(/^(delay|idle)$/) });
      expect(journey.waited).toBeGreaterThanOrEqual(0);
      expect(journey.ran).toBeGreaterThan(0);
      expect(journey.waited + journey.ran).toBeLessThan(took);
      const next = JSON.parse((await postJson(`${url}/digits?journey=true`, { pixels })).body) as Travelled;
      expect(next.journey.batch).toBeGreaterThan(journey.batch);
    });

    it('tells of many digits which travelled together, each in its own place', async () => {
      const images = Array.from({ length: 100 }, () => pixels);
      const answer = await postJson(`${url}/digits/many?journey=true`, { images });
      const journeys = (JSON.parse(answer.body) as Travelled[]).map(({ journey }) => journey);
      const numbers = [...new Set(journeys.map(({ batch }) => batch))];
      expect(numbers).toHaveLength(2);
      for (const number of numbers) {
        const [first, ...others] = journeys.filter(({ batch }) => batch === number);
        for (const other of others) expect(other).toMatchObject({ size: first?.size, ran: first?.ran });
        const places = [first, ...others].map((journey) => journey?.place);
        expect(places).toEqual(Array.from({ length: first?.size ?? 0 }, (_, place) => place));
      }
      expect(journeys[0]?.size).toBe(64);
      expect(journeys.at(-1)?.size).toBe(36);
    });

    it('is not told unless it is asked for', async () => {
      expect(await postJson(`${url}/digits`, { pixels }).then(({ body }) => body)).not.toContain('journey');
      expect(await postJson(`${url}/digits?journey=yes`, { pixels })).toMatchObject({
        status: 400,
        body: expect.stringContaining("journey: expected true or false, got 'yes'"),
      });
    });
  });

  describe('GET /queues/live', () => {
    it('tells every queue and the batches that left', async () => {
      await postJson(`${url}/digits`, { pixels });
      const { queues, batches } = await liveView(url);
      expect(queues).toMatchObject([
        { name: 'DigitClassifier.classify', state: 'started', waiting: 0 },
        { name: 'TileUpscaler.upscale', state: 'started', waiting: 0 },
        { name: 'RaceLanes.oneByOne', state: 'started', waiting: 0 },
        { name: 'RaceLanes.batched', state: 'started', waiting: 0 },
      ]);
      const last = batches.at(-1);
      expect(last).toMatchObject({ queue: 'DigitClassifier.classify', size: 1 });
      expect(['delay', 'idle']).toContain(last?.reason);
      expect(Math.abs(Date.now() - (last?.at ?? 0))).toBeLessThan(10_000);
    });

    it('has no stream for HEAD, which would have no end: the connection is free again', async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const { status, headers } = await send(`${url}/queues/live`, { method: 'HEAD', agent });
      expect([status, headers['content-type']]).toEqual([200, 'text/event-stream']);
      expect(await send(`${url}/health/live`, { agent })).toMatchObject({ status: 200, reusedSocket: true });
      agent.destroy();
    });

    it('goes on where a client was cut off', async () => {
      const { id } = await liveView(url);
      await postJson(`${url}/digits/many`, { images: [pixels, pixels] });
      const { batches } = await liveView(url, { 'last-event-id': String(id) });
      expect(batches).toMatchObject([{ size: 2 }]);
      expect((await liveView(url, { 'last-event-id': '999999' })).batches.length).toBeGreaterThan(1);
    });
  });
});

describe.each(adapters)('The demo under stress, %s', (adapter) => {
  let app: INestApplication;
  let url: string;
  afterEach(() => app.close());

  it('refuses what it cannot hold, and says when to come again', async () => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter, MAX_QUEUED: '2' }));
    const model = app.get<TfjsModel>(getTfjsModelToken('digits'));
    const predict = model.predict.bind(model) as (inputs: readonly ModelInput[]) => Promise<Float32Array[]>;
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    jest.spyOn(model, 'predict').mockImplementation((async (inputs: readonly Uint8Array[]) => {
      await released;
      return predict(inputs);
    }) as typeof model.predict);
    const stats = () => app.get(BatchingRegistry).stats()[0];
    const held: Promise<Answer>[] = [];
    for (const [running, waiting] of [
      [2, 0],
      [4, 0],
      [4, 2],
    ]) {
      held.push(postJson(`${url}/digits/many`, { images: [pixels, pixels] }));
      await until(() => stats()?.running === running && stats()?.waiting === waiting);
    }
    const answer = await postJson(`${url}/digits`, { pixels });
    expect(answer.status).toBe(503);
    expect(errorOf(answer)).toMatchObject({
      statusCode: 503,
      error: 'Service Unavailable',
      code: 'ERR_BATCHING_FULL',
    });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    release();
    for (const { status } of await Promise.all(held)) expect(status).toBe(200);
    expect((await postJson(`${url}/digits`, { pixels })).status).toBe(200);
  });

  it('answers a digit that is late with 504, and refuses one that would be with 503', async () => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter, TIMEOUT: '100', BATCH_SIZE: '1' }));
    const model = app.get<TfjsModel>(getTfjsModelToken('digits'));
    const slowly = async (inputs: readonly ModelInput[]) => {
      await sleep(150);
      return inputs.map(() => new Float32Array(10));
    };
    jest.spyOn(model, 'predict').mockImplementation(slowly as typeof model.predict);
    const late = await postJson(`${url}/digits`, { pixels });
    expect(late.status).toBe(504);
    expect(errorOf(late)).toMatchObject({ code: 'ERR_BATCHING_TIMEOUT' });
    let refused: Answer | undefined;
    // It takes some batches to know how long they take.
    while (!refused) {
      const answers = await Promise.all(
        Array.from({ length: 8 }, () => postJson(`${url}/digits`, { pixels })),
      );
      refused = answers.find(({ status }) => status === 503);
    }
    expect(errorOf(refused)).toMatchObject({ code: 'ERR_BATCHING_DEADLINE' });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  });

  it('does not compute what no caller waits for any more', async () => {
    ({ app, url } = await startDemo({
      HTTP_ADAPTER: adapter,
      MAX_DELAY: '60000',
      BATCH_SIZE: '3',
      DISPATCH: 'fixed',
    }));
    const stats = () => app.get(BatchingRegistry).stats()[0];
    const leaver = request(`${url}/digits`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    leaver.on('error', () => undefined);
    leaver.end(JSON.stringify({ pixels }));
    await until(() => stats()?.waiting === 1);
    leaver.destroy();
    await until(() => stats()?.drops.aborted === 1);
    const answers = await postJson(`${url}/digits/many`, { images: [pixels, pixels, pixels] });
    expect(answers.status).toBe(200);
    expect(stats()).toMatchObject({ batches: 1, results: 3, dropped: 1 });
  });

  it('fills one batch with numbers and bytes, of one digit and of many', async () => {
    ({ app, url } = await startDemo({
      HTTP_ADAPTER: adapter,
      MAX_DELAY: '60000',
      BATCH_SIZE: '6',
      DISPATCH: 'fixed',
    }));
    const octets = { method: 'POST', headers: { 'content-type': bytesType } };
    const numbersAt = (index: number) => [...digitAt(index).pixels];
    const answers = await Promise.all([
      send(`${url}/digits`, octets, bytesOf(0, 1)),
      postJson(`${url}/digits`, { pixels: numbersAt(1) }),
      send(`${url}/digits/many`, octets, bytesOf(2, 2)),
      postJson(`${url}/digits/many`, { images: [numbersAt(4), numbersAt(5)] }),
      // Costs its own caller a 400, and the batch nothing.
      send(`${url}/digits/many`, octets, bytesOf(6, 1).subarray(1)),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 400]);
    const read = answers.slice(0, 4).flatMap(({ body }) => JSON.parse(body) as Digit | Digit[]);
    expect(read.map(({ digit }) => digit)).toEqual([0, 1, 2, 3, 4, 5].map((index) => digitAt(index).label));
    expect(app.get(BatchingRegistry).stats()[0]).toMatchObject({ batches: 1, results: 6 });
  });

  it('forgets bytes whose sender leaves in the midst of them', async () => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter, MAX_BODY_BYTES: '150000' }));
    const begin = async (length: number) => {
      const sender = request(`${url}/digits/many`, {
        method: 'POST',
        headers: { 'content-type': bytesType, 'content-length': 156_800 },
      });
      sender.on('error', () => undefined);
      sender.write(Buffer.alloc(length));
      await new Promise((resolve) => setTimeout(resolve, 100));
      return sender;
    };
    const leaver = await begin(100_000);
    const other = await begin(60_000);
    const many = () =>
      send(`${url}/digits/many`, { method: 'POST', headers: { 'content-type': bytesType } }, bytesOf(0, 64));
    expect(errorOf(await many())).toMatchObject({ statusCode: 503, code: 'ERR_BODIES_FULL' });
    leaver.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await many()).status).toBe(200);
    other.destroy();
    expect(app.get(BatchingRegistry).stats()[0]).toMatchObject({ results: 64, dropped: 0 });
  });

  it('is not ready when its queues are stopped, and says so to callers', async () => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter }));
    await app.get(BatchingRegistry).stop();
    const ready = await send(`${url}/health/ready`, {});
    expect(ready.status).toBe(503);
    expect(ready.headers['retry-after']).toBe('1');
    expect(errorOf(ready).message).toBe(
      'Not ready: DigitClassifier.classify is stopped; TileUpscaler.upscale is stopped; ' +
        'RaceLanes.oneByOne is stopped; RaceLanes.batched is stopped.',
    );
    const answer = await postJson(`${url}/digits`, { pixels });
    expect(errorOf(answer)).toMatchObject({ statusCode: 503, code: 'ERR_BATCHING_STOPPED' });
    expect(answer.headers['retry-after']).toBeDefined();
    expect((await send(`${url}/health/live`, {})).status).toBe(200);
  });

  it('is not ready while a model is not', async () => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter }));
    const ready = jest.spyOn(app.get<TfjsModel>(getTfjsModelToken('esrgan')), 'ready', 'get');
    ready.mockReturnValueOnce(false);
    const before = await send(`${url}/health/ready`, {});
    expect(before.status).toBe(503);
    expect(errorOf(before).message).toMatch(/^Not ready: model 'esrgan' is being loaded/);
    expect((await send(`${url}/health/ready`, {})).status).toBe(200);
  });

  it('keeps what fails in a batch to its own caller', async () => {
    ({ app, url } = await startDemo({
      HTTP_ADAPTER: adapter,
      MAX_DELAY: '60000',
      DISPATCH: 'fixed',
      BATCH_SIZE: '16',
      LOG_LEVEL: 'fatal',
    }));
    const model = app.get<TfjsModel>(getTfjsModelToken('digits'));
    const predict = model.predict.bind(model) as (inputs: readonly ModelInput[]) => Promise<Float32Array[]>;
    const sizes: number[] = [];
    jest.spyOn(model, 'predict').mockImplementation(((inputs: readonly Uint8Array[]) => {
      sizes.push(inputs.length);
      if (inputs.some(([first]) => first === 13)) throw new Error('the device cannot digest this');
      return predict(inputs);
    }) as typeof model.predict);
    const images = Array.from({ length: 16 }, (_, i) => [i, ...pixels.slice(1)]);
    const answers = await Promise.all(images.map((pixels) => postJson(`${url}/digits`, { pixels })));
    expect(sizes[0]).toBe(16);
    expect(answers.map(({ status }) => status)).toEqual(images.map(([first]) => (first === 13 ? 500 : 200)));
    expect(JSON.parse(answers[13]?.body ?? '')).toMatchObject({ code: 'ERR_INTERNAL' });
    expect((JSON.parse(answers[14]?.body ?? '') as Digit).digit).toBe(7);
  });

  it('is not ready when it shuts down', async () => {
    ({ app, url } = await startDemo({ HTTP_ADAPTER: adapter }));
    app.get(Shutdown).onModuleDestroy();
    const ready = await send(`${url}/health/ready`, {});
    expect(errorOf(ready)).toMatchObject({ statusCode: 503, code: 'ERR_NOT_READY' });
    expect(ready.headers.connection).toBe('close');
  });
});

function digitAt(index: number): LabelledDigit {
  const digit = digits[index];
  if (!digit) throw new Error(`there is no digit ${index}`);
  return digit;
}

/** The bytes of so many digits, one after the other. */
function bytesOf(first: number, count: number): Buffer {
  return Buffer.concat(digits.slice(first, first + count).map(({ pixels }) => pixels));
}

/** Batches of other sizes round differently. */
function expectClose(answers: readonly Digit[], expected: readonly Digit[]): void {
  expect(answers).toHaveLength(expected.length);
  answers.forEach(({ digit, confidence, scores }, i) => {
    expect(digit).toBe(expected[i]?.digit);
    expect(confidence).toBeCloseTo(expected[i]?.confidence ?? NaN, 5);
    expect(scores).toHaveLength(10);
  });
}

/** The body of an error, which has no other fields than these. */
function errorOf({ status, headers, body }: Answer): { message: string; code?: string; details?: unknown } {
  expect(status).toBeGreaterThanOrEqual(400);
  expect(status).not.toBe(500);
  expect(headers['content-type']).toMatch(/^application\/json/);
  const { statusCode, error, message, code, details, ...rest } = JSON.parse(body) as Record<string, unknown>;
  expect({ statusCode, error, message: typeof message }).toEqual({
    statusCode: status,
    error: STATUS_CODES[status],
    message: 'string',
  });
  expect(rest).toEqual({});
  return { message, code, details, statusCode, error } as { message: string };
}

function noise(type: 'png' | 'jpeg'): Promise<Buffer> {
  const values = Uint8Array.from({ length: 300 * 300 }, (_, i) => (i * i * 31) % 256);
  return sharp(values, { raw: { width: 300, height: 300, channels: 1 } })
    .toFormat(type)
    .toBuffer();
}

function paper(width: number, height: number): Promise<Buffer> {
  return sharp({ create: { width, height, channels: 3, background: '#fff' } })
    .png()
    .toBuffer();
}

/** A PNG of 32 KB that unpacks to 256 million pixels. */
function bomb(side: number): Buffer {
  const chunk = (type: string, data: Buffer): Buffer => {
    const content = Buffer.concat([Buffer.from(type), data]);
    return Buffer.concat([uint32(data.length), content, uint32(crc32(content))]);
  };
  const grey1Bit = Buffer.from([1, 0, 0, 0, 0]);
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', Buffer.concat([uint32(side), uint32(side), grey1Bit])),
    chunk('IDAT', deflateSync(Buffer.alloc(side * (1 + side / 8)))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 3000;
  while (!condition() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
}
