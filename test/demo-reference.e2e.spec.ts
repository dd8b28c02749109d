import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import sharp from 'sharp';
import { findChromium, launch, openPage } from './browser.js';
import { startDemo } from './demo.js';
import { about, describesItself, Reference } from './reference.js';

const executablePath = await findChromium();

describe('The reference of the demo', () => {
  let app: INestApplication;
  let url: string;
  let reference: Reference;
  beforeAll(async () => {
    ({ app, url } = await startDemo({ BACKEND: 'wasm' }));
    reference = await Reference.of(url);
  });
  afterAll(() => app.close());

  describesItself(() => reference);

  it.each([
    'post /digits',
    'post /digits/many',
    'get /digits/samples',
    'get /health/live',
    'get /health/ready',
  ])('gives an example of %s, which is answered as it says', async (name) => {
    const answer = await reference.send(name);
    expect(answer.status).toBe(200);
    const body = await answer.json();
    expect(reference.complaints(name, 200, body)).toBeUndefined();
    expect(body).toEqual(about(reference.example(name, 200)));
  });

  it('shows the events of a photo as they come', async () => {
    const name = 'post /photos/upscale';
    const pixel = { width: 1, height: 1, channels: 3, background: '#d22' } as const;
    const answer = await post(
      '/photos/upscale',
      'image/png',
      await sharp({ create: pixel }).png().toBuffer(),
      {
        accept: 'text/event-stream',
      },
    );
    const text = await answer.text();
    expect(reference.complaints(name, 200, text, 'text/event-stream')).toBeUndefined();
    const shown = reference.route(name).responses['200']?.content?.['text/event-stream']?.example;
    const [given, example] = [text, String(shown)].map((events) => reference.events(name, events));
    expect(given?.map(({ event }) => event)).toEqual(['progress', 'progress', 'picture']);
    expect(given?.slice(0, 2)).toEqual(example?.slice(0, 2));
    const [picture, examplePicture] = await Promise.all(
      [given, example].map((events) => pixelsOf(events?.[2]?.data)),
    );
    expect(picture?.info).toEqual(examplePicture?.info);
    picture?.data.forEach((value, i) => {
      expect(Math.abs(value - (examplePicture?.data[i] ?? 0))).toBeLessThanOrEqual(3);
    });
  });

  it('shows the events of a race as they come', async () => {
    const name = 'post /race';
    const answer = await fetch(`${url}/race?callers=64`, { method: 'POST' });
    const events = reference.events(name, await answer.text());
    const shown = reference.route(name).responses['200']?.content?.['text/event-stream']?.example;
    const example = reference.events(name, String(shown));
    for (const at of [0, -1]) expect(shapeOf(events.at(at))).toEqual(shapeOf(example.at(at)));
    const refused = await fetch(`${url}/race?callers=1`, { method: 'POST' });
    expect(await refused.json()).toEqual(reference.errors(name).get('400 ERR_INVALID'));
  });

  it('shows an event of the queues as they come, and goes on after the last one', async () => {
    const name = 'get /queues/live';
    await reference.send('post /digits');
    const first = await firstEvent({});
    const [event] = reference.events(name, first.text);
    const [queue] = (event?.data as { queues: unknown[] }).queues;
    expect(queue).toMatchObject({ name: 'DigitClassifier.classify' });
    const again = await firstEvent({ 'last-event-id': /^id: (\d+)$/m.exec(first.text)?.[1] ?? '' });
    expect(reference.events(name, again.text)).toMatchObject([{ data: { batches: [] } }]);
    const shown = reference.route(name).responses['200']?.content?.['text/event-stream']?.example;
    expect(shapeOf(reference.events(name, String(shown))[0])).toEqual(shapeOf(event));
  });

  it('shows metrics that there are', async () => {
    const shown = String(reference.route('get /metrics').responses['200']?.content?.['text/plain']?.example);
    const answer = await fetch(`${url}/metrics`);
    expect(await answer.text()).toContain(shown);
  });

  it('has an error of every kind as it comes', async () => {
    const json = 'application/json';
    const blank = await sharp({ create: { width: 9, height: 9, channels: 3, background: '#fff' } })
      .png()
      .toBuffer();
    // It says so; what it holds is never looked at.
    const huge = Buffer.from(blank);
    huge.writeUInt32BE(16_000, 16);
    huge.writeUInt32BE(16_000, 20);
    const pictures = (path: string) =>
      [
        [path, 'image/png', ''],
        [path, 'image/png', '<svg/>'],
        [path, 'image/png', Buffer.from('89504e470d0a1a0a', 'hex')],
        [path, 'image/png', huge],
      ] as const;
    const requests: (readonly [path: string, type: string, body: string | Buffer])[] = [
      ['/digits', json, '{}'],
      ['/digits', json, ''],
      ['/digits', json, 'seven'],
      ['/digits', json, ' '.repeat(32_001)],
      ['/digits', 'text/plain', '7'],
      ['/digits', 'image/png', blank],
      ...pictures('/digits'),
      ['/digits/many', json, '{"images":[]}'],
      ['/digits/many', json, ''],
      ['/digits/many', json, 'seven'],
      ['/digits/many', json, ' '.repeat(1_500_001)],
      ['/digits/many', 'text/plain', '7'],
      ['/photos/upscale', 'text/plain', '7'],
      ['/photos/upscale', 'image/png', Buffer.alloc(9_000_001)],
      ...pictures('/photos/upscale'),
    ];
    const seen = new Map<string, unknown>();
    for (const [path, type, body] of requests) {
      const answer = await post(path, type, body);
      const given = (await answer.json()) as { code: string };
      seen.set(`post ${path}: ${answer.status} ${given.code}`, given);
    }
    const noSamples = await fetch(`${url}/digits/samples?count=0`);
    seen.set('get /digits/samples: 400 ERR_INVALID', await noSamples.json());

    const shown = new Map<string, unknown>(
      reference.routes.flatMap(({ method, path }) =>
        Array.from(
          reference.errors(`${method} ${path}`),
          ([code, value]) => [`${method} ${path}: ${code}`, value] as const,
        ),
      ),
    );
    for (const [code, given] of seen) expect([code, shown.get(code)]).toEqual([code, given]);
    // Other specs see these come: of time, of many callers, and of a server that ends or has a fault.
    const others =
      /race: 400 ERR_INVALID$|ERR_(RACE_RUNNING|STOPPING|BODY_TIMEOUT|BODIES_FULL|PICTURE_SCANS|PICTURE_TOO_SLOW|BATCHING_\w+|TOO_MANY_VIEWERS|NOT_LIVE|NOT_READY|INTERNAL)$/;
    expect([...shown.keys()].filter((code) => !seen.has(code) && !others.test(code))).toEqual([]);
  });

  (executablePath ? it : it.skip)('is as dark as the system, and leads back to the page', async () => {
    const browser = await launch(executablePath);
    try {
      const { page, complaints } = await openPage(browser, `${url}/docs`, { colorScheme: 'dark' });
      await page.getByText('Read one digit').waitFor();
      expect(await page.title()).toBe('Digits and photos · API reference');
      const ground = () => page.evaluate('getComputedStyle(document.documentElement).backgroundColor');
      const dark = await ground();
      await page.emulateMedia({ colorScheme: 'light' });
      await page.locator('html:not(.dark-mode)').waitFor();
      expect(await ground()).not.toBe(dark);
      await page.emulateMedia({ colorScheme: 'dark' });
      await page.locator('html.dark-mode').waitFor();
      await page.getByRole('link', { name: 'Back to the page' }).click();
      await page.getByRole('heading', { level: 1 }).waitFor();
      expect(new URL(page.url()).pathname).toBe('/');
      expect(complaints).toEqual([]);
    } finally {
      await browser.close();
    }
  });

  function post(path: string, type: string, body: string | Buffer, headers: Record<string, string> = {}) {
    const bytes = typeof body === 'string' ? body : new Uint8Array(body);
    return fetch(`${url}${path}`, {
      method: 'POST',
      body: bytes,
      headers: { 'content-type': type, ...headers },
    });
  }

  async function firstEvent(headers: Record<string, string>): Promise<{ text: string }> {
    const leave = new AbortController();
    const { body } = await fetch(`${url}/queues/live`, { headers, signal: leave.signal });
    let text = '';
    for await (const piece of body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += piece;
      if (text.includes('\n\n')) break;
    }
    leave.abort();
    return { text };
  }
});

function pixelsOf(data: unknown) {
  return sharp(Buffer.from((data as { png: string }).png, 'base64'))
    .raw()
    .toBuffer({ resolveWithObject: true });
}

/** The names of what it consists of, whatever the values are. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.length > 0 ? [shapeOf(value[0])] : [];
  if (typeof value !== 'object' || value === null) return null;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, shapeOf(part)]));
}
