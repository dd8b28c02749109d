import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { Browser, Page } from 'playwright-core';
import { Places } from '../apps/microphones/src/places.js';
import { faults, findChromium, launch, openPage } from './browser.js';
import { startMicrophones } from './microphones.js';

const executablePath = await findChromium();
const recording = join(import.meta.dirname, '../apps/microphones/recording/reading.wav');

(executablePath ? describe : describe.skip)('The page of the microphones in headless Chromium', () => {
  let browser: Browser;
  let app: INestApplication;
  let url: string;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    ({ app, url } = await startMicrophones({ MAX_MICROPHONES: '100' }));
    // The browser's microphone hears the recording, as another program's sound would be heard.
    browser = await launch(executablePath, [
      '--use-fake-ui-for-media-stream',
      '--use-fake-device-for-media-stream',
      `--use-file-for-fake-audio-capture=${recording}`,
    ]);
  });
  afterAll(async () => {
    await browser.close();
    await app.close();
  });
  beforeEach(async () => {
    ({ page, complaints } = await openPage(browser, url, {
      viewport: { width: 390, height: 844 },
      permissions: ['microphone'],
    }));
  });
  afterEach(() => page.context().close());

  const segments = () => page.locator('#segments li');

  it('hears a file to its end, and says when somebody spoke', async () => {
    await page.getByLabel('A file with sound').setInputFiles(recording);
    await page.getByText('Heard to its end: 2 times speech').waitFor();
    expect(await segments().allTextContents()).toEqual([
      expect.stringMatching(/^0\.\d s to [67]\.\d s$/),
      expect.stringMatching(/^[89]\.\d s to 1[12]\.\d s$/),
    ]);
    expect(await page.locator('#frames').textContent()).toBe('418');
    expect(complaints).toEqual([]);
  });

  it('says why, if a file has no sound', async () => {
    const file = { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('no sound') };
    await page.getByLabel('A file with sound').setInputFiles(file);
    await page.getByText('notes.txt has no sound that this browser reads').waitFor();
    expect(app.get(Places).taken).toBe(0);
  });

  it('says why, if the browser gives its microphone to no page of this address', async () => {
    // As on a page over HTTP of another machine.
    await page.evaluate('delete Navigator.prototype.mediaDevices');
    await page.getByRole('button', { name: 'Use the microphone' }).click();
    await page.getByText('Browsers let only pages of localhost or over HTTPS use the microphone').waitFor();
    await until(() => app.get(Places).taken === 0);
  });

  it('connects only when the browser has given its microphone, however long its user takes', async () => {
    await page.evaluate(`
      globalThis.connections = 0;
      globalThis.WebSocket = class extends WebSocket {
        constructor(url) {
          super(url);
          globalThis.connections += 1;
        }
      };
      const media = navigator.mediaDevices;
      const ask = media.getUserMedia.bind(media);
      media.getUserMedia = (wanted) =>
        new Promise((resolve) => (globalThis.allow = resolve)).then(() => ask(wanted));
    `);
    await page.evaluate("document.getElementById('microphone').click()");
    expect(await page.evaluate('[typeof allow, connections]')).toEqual(['function', 0]);
    await page.evaluate('allow()');
    await page.getByText('Speech', { exact: true }).and(page.locator('output')).waitFor();
    expect(await page.evaluate('connections')).toBe(1);
    expect(complaints).toEqual([]);
  });

  it('turns the microphone off again and says why, if a part of the page cannot be loaded', async () => {
    await page.evaluate(`
      const media = navigator.mediaDevices;
      const ask = media.getUserMedia.bind(media);
      media.getUserMedia = async (wanted) => (globalThis.given = await ask(wanted));
      AudioWorklet.prototype.addModule = () => Promise.reject(new DOMException('not found', 'AbortError'));
    `);
    await page.getByRole('button', { name: 'Use the microphone' }).click();
    await page.getByText('A part of this page could not be loaded: load it again').waitFor();
    expect(await page.evaluate('given.getTracks().map(({ readyState }) => readyState)')).toEqual(['ended']);
    await until(() => app.get(Places).taken === 0);
  });

  it('hears the microphone until it is stopped', async () => {
    await page.getByRole('button', { name: 'Use the microphone' }).click();
    await page.getByText('Speech', { exact: true }).and(page.locator('output')).waitFor();
    await page.getByRole('button', { name: 'Stop' }).first().click();
    await page.getByText('Stopped').waitFor();
    await page.getByRole('button', { name: 'Use the microphone' }).waitFor();
    expect(complaints).toEqual([]);
  });

  it('shows a crowd, which leaves when it is told to', async () => {
    await page.getByRole('spinbutton').fill('60');
    await page.getByRole('button', { name: 'Start' }).click();
    await page.getByText(/^[1-9]\d* of 60$/).waitFor();
    await page.getByRole('img', { name: /^The crowd: 60 microphones, \d+ of which hear speech$/ }).waitFor();
    await page.getByRole('button', { name: 'Stop' }).last().click();
    await page.getByText('No crowd').waitFor();
    expect(complaints).toEqual([]);
  });

  it.each([
    ['light', '#e4e6ee', '#3557e0'],
    ['dark', '#262b36', '#7f9bff'],
  ] as const)(
    'draws who is silent and who speaks in colours of their own, in %s',
    async (scheme, ...both) => {
      await page.emulateMedia({ colorScheme: scheme });
      const drawn = await page.evaluate<string[]>(`import('/wall.js').then(({ Wall }) => {
      const canvas = document.getElementById('wall');
      new Wall(canvas).show([0, 100]);
      // Two cells in a row that has room for eight.
      const size = Math.min(canvas.width / 8, canvas.height);
      const { data } = canvas.getContext('2d').getImageData(0, size / 2, 2 * size, 1);
      return [0.5, 1.5].map((column) => {
        const rgb = data.slice(4 * Math.floor(column * size)).slice(0, 3);
        return '#' + Array.from(rgb, (byte) => byte.toString(16).padStart(2, '0')).join('');
      });
    })`);
      expect(drawn).toEqual(both);
      expect(complaints).toEqual([]);
    },
  );

  it('gathers the crowd that was asked for last, also while it connects', async () => {
    const submit = (count: number) =>
      `document.getElementById('count').value = ${count}; document.getElementById('crowd').requestSubmit();`;
    await page.evaluate(submit(10) + submit(20));
    await page.getByText(/^\d+ of 20$/).waitFor();
    expect(complaints).toEqual([]);
  });

  it('says why a crowd is smaller than it was to be', async () => {
    const release = Array.from({ length: 90 }, () => app.get(Places).take());
    await page.getByRole('spinbutton').fill('60');
    await page.getByRole('button', { name: 'Start' }).click();
    await page.getByText('all 100 places are taken; try again in 5 s').waitFor();
    await page.getByText(/^\d+ of 10$/).waitFor();
    for (const leave of release) leave();
  });

  it.each(['light', 'dark'] as const)(
    'has no fault that axe finds, in %s, and is no wider than a phone',
    async (colorScheme) => {
      await page.emulateMedia({ colorScheme });
      await page.getByLabel('A file with sound').setInputFiles(recording);
      await page.getByText('Heard to its end: 2 times speech').waitFor();
      expect(await faults(page)).toEqual([]);
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
    },
  );
});

/** Resolves when it holds; the time limit of the test is the only other end. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
