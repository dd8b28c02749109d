import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import sharp from 'sharp';
import type { Digit } from '../apps/demo-api/src/digits/digit-classifier.js';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { findChromium, launch, openDemo } from './browser.js';
import { postJson, send, startDemo } from './demo.js';

// A busy machine may be ten times as slow as an idle one.
jest.setTimeout(60_000);

const executablePath = await findChromium();

(executablePath ? describe : describe.skip)('The page in headless Chromium', () => {
  let browser: Browser;
  let app: INestApplication;
  let url: string;
  let page: Page;
  /** What the browser has complained about. */
  let complaints: string[];

  beforeAll(async () => {
    ({ app, url } = await startDemo({}));
    browser = await launch(executablePath);
  });
  afterAll(async () => {
    await browser.close();
    await app.close();
  });
  beforeEach(() => open({}));
  afterEach(async () => {
    await page.context().close();
    expect(complaints).toEqual([]);
  });

  async function open(options: BrowserContextOptions): Promise<void> {
    ({ page, complaints } = await openDemo(browser, url, options));
  }

  it.each(['light', 'dark'] as const)('reads a 7 that is drawn with the mouse, %s', async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    await drawSeven();
    await expectDigit('7');
    expect(await page.locator('#scores .best').textContent()).toMatch(/^7/);
    expect(await page.locator('#spoken').textContent()).toMatch(/^Read as 7, .* sure$/);

    await page.getByRole('button', { name: 'Clear' }).click();
    await expectDigit('–');
  });

  it('reads a picture that is chosen, and says what is wrong with one that is none', async () => {
    const { pixels } = (await loadTestDigits())[1] ?? { pixels: new Uint8Array(784) };
    const buffer = await sharp(pixels, { raw: { width: 28, height: 28, channels: 1 } })
      .png()
      .toBuffer();
    await page.locator('#file').setInputFiles({ name: '2.png', mimeType: 'image/png', buffer });
    await expectDigit('2');

    const text = { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('7') };
    await page.locator('#file').setInputFiles(text);
    await page.locator('#reader-error').getByText('That is no PNG or JPEG picture.').waitFor();
    await expectDigit('–');
    // The browser logs the refusal as well.
    complaints = complaints.filter((complaint) => !complaint.includes('415'));
  });

  it('can be used with the keyboard alone', async () => {
    await page.getByRole('button', { name: 'Sample' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('#digit:not([data-empty])').waitFor();
    expect(await page.locator('#digit').textContent()).toMatch(/^\d$/);

    await page.getByLabel('Digits', { exact: true }).focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByText('Read right', { exact: true }).waitFor();
    expect(await page.locator('#count-shown').textContent()).toBe('2');
    expect(await page.locator('.choice :checked').inputValue()).toBe('32');
  });

  it.each(['1', '32'])('sends a crowd of 200, %s in each request', async (parcel) => {
    // So that the page draws digits of which some are misread.
    await page.evaluate('Math.random = () => 0.5');
    const samples = JSON.parse((await send(`${url}/digits/samples?count=200&seed=${2 ** 31}`, {})).body) as {
      pixels: number[];
      label: number;
    }[];
    const answers = await postJson(`${url}/digits/many`, { images: samples.map((sample) => sample.pixels) });
    const wrong = (JSON.parse(answers.body) as Digit[]).filter(({ digit }, i) => digit !== samples[i]?.label);
    expect(wrong.length).toBeGreaterThan(0);

    await page.locator('#count').fill('200');
    await page.locator('.choice').getByText(parcel, { exact: true }).click();
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('Read right', { exact: true }).waitFor();
    const accuracy = Number.parseFloat((await page.locator('#crowd-accuracy').textContent()) ?? '');
    expect(accuracy).toBe(100 - wrong.length / 2);
    expect(accuracy).toBeGreaterThanOrEqual(95);
    expect(await page.locator('#crowd-misread figure').count()).toBe(wrong.length);
    const [, batches, mean] =
      /^(\d+) batches of ([\d.]+) /.exec((await page.locator('#crowd-batches').textContent()) ?? '') ?? [];
    expect(Number(batches) * Number(mean)).toBeCloseTo(200, -1);
    expect(Number(mean)).toBeGreaterThan(parcel === '1' ? 1 : 24);
    expect(await page.locator('#crowd-error').isHidden()).toBe(true);
  });

  it('shows the queue as it is', async () => {
    await drawSeven();
    await expectDigit('7');
    const queue = page.locator('.queue');
    expect(await queue.locator('h3').textContent()).toBe('DigitClassifier.classify');
    expect(await queue.locator('.rule').textContent()).toBe(
      'started · at most 64 in a batch, after at most 5 ms',
    );
    await queue.getByText('Answered').waitFor();
    expect(await queue.locator('dl').textContent()).toMatch(
      /Batches\d+.*Mean batch[\d.]+.*Run p50 \/ p99[\d.]+ \/ [\d.]+ ms/,
    );
  });

  it.each([360, 390])('fits on a phone, %i pixels wide', async (width) => {
    await page.context().close();
    await open({ viewport: { width, height: 844 }, hasTouch: true, isMobile: true });
    await page.locator('#count').fill('50');
    await page.getByRole('button', { name: 'Send' }).tap();
    await page.getByText('Read right', { exact: true }).waitFor();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
  });

  it('is drawn on with a finger without moving the page', async () => {
    await page.context().close();
    await open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
    const touch = await page.context().newCDPSession(page);
    const at = await paperPoints();
    const dispatch = (type: string, ...touchPoints: { x: number; y: number }[]) =>
      touch.send('Input.dispatchTouchEvent', { type: type as 'touchStart', touchPoints });
    const [first, ...rest] = seven.map(([x, y]) => at(x, y));
    if (first) await dispatch('touchStart', first);
    for (const point of rest) await dispatch('touchMove', point);
    await dispatch('touchEnd');
    await expectDigit('7');
    expect(await page.evaluate('scrollY')).toBe(0);
  });

  it('says when the server is gone, and goes on when it is back', async () => {
    const { port } = new URL(url);
    await app.close();
    await page.getByText('The connection to the server is lost').waitFor();
    await page.getByText('not connected').waitFor();
    await drawSeven();
    await page.getByText('The server cannot be reached. Is it still running?').waitFor();
    await page.getByRole('button', { name: 'Send' }).click();
    await page.locator('#crowd-error').getByText('cannot be reached').waitFor();

    ({ app } = await startDemo({ PORT: port }));
    await page.getByText('live', { exact: true }).waitFor();
    expect(await page.locator('#queues-error').isHidden()).toBe(true);
    await page.getByRole('button', { name: 'Clear' }).click();
    await drawSeven();
    await expectDigit('7');
    // The browser logs each attempt.
    complaints = complaints.filter((complaint) => !complaint.includes('ERR_CONNECTION_REFUSED'));
  });

  it('keeps to its own policies in the reference of the API', async () => {
    await page.goto(`${url}/docs`);
    await page.getByText('Read one digit').click();
    await page.getByText('Takes 784 numbers').waitFor();
  });

  async function drawSeven(): Promise<void> {
    const at = await paperPoints();
    const [first, ...rest] = seven.map(([x, y]) => at(x, y));
    if (first) await page.mouse.move(first.x, first.y);
    await page.mouse.down();
    for (const { x, y } of rest) await page.mouse.move(x, y, { steps: 4 });
    await page.mouse.up();
  }

  async function paperPoints(): Promise<(x: number, y: number) => { x: number; y: number }> {
    const box = await page.locator('#board').boundingBox();
    if (!box) throw new Error('there is no paper');
    return (x, y) => ({ x: box.x + x * box.width, y: box.y + y * box.height });
  }

  async function expectDigit(digit: string): Promise<void> {
    await page.locator('#digit').getByText(digit, { exact: true }).waitFor();
  }
});

/** How a 7 is drawn, as shares of the paper. */
const seven = [
  [0.3, 0.25],
  [0.5, 0.24],
  [0.7, 0.23],
  [0.6, 0.45],
  [0.52, 0.65],
  [0.46, 0.82],
] as const;
