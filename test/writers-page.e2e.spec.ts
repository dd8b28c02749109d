import { ApiError } from '@app/serving';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { faults, findChromium, launch, openPage } from './browser.js';
import type { EventStream } from '../apps/writers/src/event-stream.js';
import { Network } from '../apps/writers/src/network.js';
import { Streams } from '../apps/writers/src/streams.js';
import { Walls } from '../apps/writers/src/walls.js';
import { startWriters } from './writers.js';

const executablePath = await findChromium();

(executablePath ? describe : describe.skip)('The wall of writers in headless Chromium', () => {
  let browser: Browser;
  let app: INestApplication;
  let url: string;
  let page: Page;
  let complaints: string[];
  let release = (): void => undefined;

  beforeAll(async () => {
    ({ app, url } = await startWriters());
    browser = await launch(executablePath);
  });
  afterAll(async () => {
    await browser.close();
    await app.close();
  });
  beforeEach(() => open({}));
  afterEach(async () => {
    jest.restoreAllMocks();
    release();
    await page.context().close();
    expect(complaints).toEqual([]);
  });

  async function open(options: BrowserContextOptions): Promise<void> {
    ({ page, complaints } = await openPage(browser, url, options));
    page.context().setDefaultTimeout(60_000);
    await page.locator('#share').getByText('–').waitFor();
  }

  const button = (name: string) => page.getByRole('button', { name, exact: true });
  const lines = () => page.locator('#wall li');

  /** Texts stop when some characters are written, so that they neither end nor lose sight of their beginnings, however fast they are. */
  function holdTexts(): void {
    const network = app.get(Network);
    const step = network.step.bind(network);
    const held = new Promise<void>((resolve) => (release = resolve));
    let left = 60;
    jest.spyOn(network, 'step').mockImplementation(async (steps) => {
      if (left-- <= 0) await held;
      return step(steps);
    });
  }

  it('shows texts that grow, and those that leave', async () => {
    holdTexts();
    await page.getByLabel('Characters', { exact: true }).fill('2000');
    await button('A crowd of 16').click();
    await lines().nth(15).waitFor();
    await page.locator('#writing').getByText('16', { exact: true }).waitFor();
    await page.getByText('16 writers joined.').waitFor();
    expect(await lines().first().locator('.text').textContent()).toMatch(/^The whale /);
    await button('Writer 3 leaves').click();
    await page.getByText('One writer left.').waitFor();
    await page.locator('#writing').getByText('15', { exact: true }).waitFor();
    expect(await page.locator('#wall .ended').getAttribute('title')).toBe('it left');
    await button('Half leave').click();
    await page.locator('#writing').getByText('7', { exact: true }).waitFor();
    await button('All leave').click();
    await page.locator('#writing').getByText('0', { exact: true }).waitFor();
    expect(await button('All leave').isDisabled()).toBe(true);
  });

  it('says why its wall has ended, and opens another when it gets one', async () => {
    const open = jest.spyOn(app.get(Streams), 'open');
    await page.reload();
    await page.locator('#share').getByText('–').waitFor();
    const stream = open.mock.results[0]?.value as EventStream;
    open.mockRestore();
    await button('Race against static batches').click();
    await page.locator('#race:disabled').waitFor();
    // The browser asks for another one by itself, and does not after a refusal.
    const refused = jest.spyOn(app.get(Walls), 'open').mockImplementationOnce(() => {
      throw new ApiError(503, 'ERR_TOO_MANY_WALLS', '20 walls are open, as many as may be');
    });
    stream.stop(new ApiError(503, 'ERR_STOPPING', 'the server is shutting down; ask again'));
    await page
      .getByText(
        'The wall has ended: the server is shutting down; ask again. A new one opens as soon as it can.',
      )
      .waitFor();
    expect(await page.locator('#writing').textContent()).toBe('0');
    await page.locator('#empty').waitFor();
    expect(await page.locator('#note').textContent()).toBe('');
    expect(await button('Race against static batches').isEnabled()).toBe(true);
    expect(refused).toHaveBeenCalledTimes(2);
    refused.mockRestore();
    // The browser logs the refusal as well.
    complaints = complaints.filter((complaint) => !complaint.includes('503'));
  });

  it('can be used with the keyboard alone, and says what it does not take', async () => {
    await page.getByLabel('Begins with').fill('Ahab ');
    await page.keyboard.press('Enter');
    await page.getByText('One writer joined.').waitFor();
    await lines().first().waitFor();
    await page.getByLabel('Begins with').fill('鯨');
    await page.keyboard.press('Enter');
    await page.locator('#note').getByText('expected characters that the network has learned').waitFor();
    // The browser logs the refusal as well.
    complaints = complaints.filter((complaint) => !complaint.includes('400'));
    await button('All leave').focus();
    await page.keyboard.press('Enter');
    await page.locator('#writing').getByText('0', { exact: true }).waitFor();
  });

  it.each<[string, BrowserContextOptions]>([
    ['light', { colorScheme: 'light' }],
    ['dark, with less motion', { colorScheme: 'dark', reducedMotion: 'reduce' }],
    ['on a phone', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
  ])('has no fault that axe finds, %s, and fits', async (_, options) => {
    await page.context().close();
    await open(options);
    expect(await faults(page)).toEqual([]);
    holdTexts();
    await button('A crowd of 16').click();
    await lines().nth(15).locator('.text').getByText('The whale ').waitFor();
    expect(await faults(page)).toEqual([]);
    await button('All leave').click();
    await page.locator('#writing').getByText('0', { exact: true }).waitFor();
    expect(await faults(page)).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
  });

  it('races continuous batches against static ones', async () => {
    await button('Race against static batches').click();
    await page
      .getByText(/^128 texts, 64 at a time: continuous batches wrote [\d.]+ times as fast\.$/)
      .waitFor({
        timeout: 110_000,
      });
    expect(await page.locator('tbody th').allTextContents()).toEqual(['continuous', 'static']);
    // More texts share a step where they may join at any step.
    const [continuous = 0, fixed = 0] = (
      await page.locator('tbody tr > :nth-child(6)').allTextContents()
    ).map(Number);
    expect(continuous).toBeGreaterThan(fixed);
    expect(await button('Race against static batches').isEnabled()).toBe(true);
    expect(await faults(page)).toEqual([]);
  });
});
