import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { type Browser, type JSHandle, launch, type Page } from 'puppeteer-core';
import sharp from 'sharp';
import { postJson, startDemo } from './demo.js';

const executablePath = process.env.FIREFOX ?? ['/usr/bin/firefox-esr'].find(existsSync);
if (!executablePath) {
  process.stderr.write(
    '\n*** SKIPPED: the pages are not tested in Firefox; install firefox-esr, or set FIREFOX to the path of a Firefox.\n\n',
  );
}

// Playwright drives a Firefox of its own make only; this is the one that people have, over WebDriver BiDi.
(executablePath ? describe : describe.skip)('The pages in headless Firefox', () => {
  let home: string;
  let browser: Browser;
  let app: INestApplication;
  let url: string;
  let page: Page;
  /** What the browser complains about, and what it was refused. */
  let complaints: string[];

  beforeAll(async () => {
    ({ app, url } = await startDemo({}));
    // Firefox writes beside its profile too, and does not start in the home of another user.
    home = await mkdtemp(join(tmpdir(), 'firefox-'));
    browser = await launch({
      browser: 'firefox',
      executablePath,
      timeout: 60_000,
      protocolTimeout: 60_000,
      env: { ...process.env, HOME: home, MOZ_CRASHREPORTER_DISABLE: '1' },
    });
  });
  afterAll(async () => {
    await app.close();
    await browser.close();
    await rm(home, { recursive: true, force: true });
  });
  afterEach(async () => {
    await page.close();
    expect(complaints).toEqual([]);
  });

  it('plays the race, and shows its batches on the timeline', async () => {
    await open('/');
    await page.click('#race-button');
    await shows('#race-ratio', /^\d+\.\d × as fast$/);
    await shows('#race-clock', /^2\.00 s$/);
    await selectBatch(
      'batching-timeline >>> .sentence',
      'batching-timeline >>> canvas',
      'batching-timeline >>> button',
    );
  });

  it('reads a 7 that is drawn with the mouse', async () => {
    await open('/');
    const box = await (await page.$('#board'))?.boundingBox();
    if (!box) throw new Error('there is no paper');
    const [first, ...rest] = [
      [0.3, 0.25],
      [0.7, 0.23],
      [0.6, 0.45],
      [0.46, 0.82],
    ].map(([x = 0, y = 0]) => [box.x + x * box.width, box.y + y * box.height] as const);
    if (first) await page.mouse.move(...first);
    await page.mouse.down();
    for (const point of rest) await page.mouse.move(...point, { steps: 4 });
    await page.mouse.up();
    await shows('#digit', /^7$/);
    await shows('#journey', /^Waited [\d.]+ ms, /);
  });

  it('enlarges a photo', async () => {
    await open('/photos');
    const photo = join(home, 'photo.png');
    await sharp({ create: { width: 20, height: 16, channels: 3, background: '#d22' } }).toFile(photo);
    const [chooser] = await Promise.all([page.waitForFileChooser(), page.click('#choose')]);
    await chooser.accept([photo]);
    await shows('#photo-status', /^20 × 16 became 40 × 32, /);
    await page.waitForSelector('#download', { visible: true });
    expect(await page.evaluate("document.getElementById('after').naturalWidth")).toBe(40);
  });

  it('shows the queues on the dashboard', async () => {
    await open('/batching');
    const section = '.queue[aria-label="DigitClassifier.classify"]';
    await postJson(`${url}/digits`, { pixels: Array<number>(784).fill(0) });
    await shows(`${section} h2`, /^DigitClassifier\.classify$/);
    await shows(`${section} [data-name="Inputs/s"]`, /[1-9]\d* ended/);
    await selectBatch(`${section} .sentence`, `${section} canvas`, '#pause');
  });

  async function open(path: string): Promise<void> {
    page = await browser.newPage();
    complaints = [];
    const seen = complaints;
    page.on('console', (message) => {
      if (['error', 'warn'].includes(message.type())) seen.push(message.text());
    });
    page.on('pageerror', (error) => seen.push(String(error)));
    page.on('response', (answer) => {
      if (answer.status() >= 400) seen.push(`${answer.status()} ${answer.url()}`);
    });
    await page.setViewport({ width: 1280, height: 900 });
    await page.goto(`${url}${path}`);
    await shows('[role=status][data-state]', /^live$/);
  }

  /** Selects the last batch of a timeline with the keyboard, and expects that it is told of. */
  async function selectBatch(sentence: string, canvas: string, pause: string): Promise<void> {
    const select = async () => {
      await page.focus(canvas);
      await page.keyboard.press('End');
    };
    await select();
    await shows(sentence, /^[\d,]+ (inputs?|digits?).*, waited .*, ran /, async () => {
      // A key has paused it, maybe before the batch was drawn.
      await page.click(pause);
      await sleep(100);
      await select();
    });
  }

  /**
   * Waits until the text of an element is as it should be.
   *
   * @param again is done after each look in vain
   */
  async function shows(selector: string, text: RegExp, again?: () => Promise<void>): Promise<void> {
    const end = performance.now() + 40_000;
    for (;;) {
      const element = (await page.$(selector)) as JSHandle<{ textContent: string | null }> | null;
      const words = await (await element?.getProperty('textContent'))?.jsonValue();
      if (words && text.test(words.trim())) return;
      if (performance.now() > end) throw new Error(`${selector} does not show ${text}, but ${words}`);
      await sleep(50);
      await again?.();
    }
  }
});
