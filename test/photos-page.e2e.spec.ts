import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { BatchingRegistry } from 'nest-batching';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import sharp from 'sharp';
import { faults, findChromium, launch, openDemo, sharesDrawn } from './browser.js';
import { startDemo } from './demo.js';

const executablePath = await findChromium();
const boats = join(import.meta.dirname, '../apps/demo-api/public/boats.jpg');

(executablePath ? describe : describe.skip)('The page of photos in headless Chromium', () => {
  let browser: Browser;
  let app: INestApplication;
  let url: string;
  let page: Page;
  /** What the browser has complained about. */
  let complaints: string[];

  beforeAll(async () => {
    ({ app, url } = await startDemo({ MAX_PHOTO_PIXELS: '120000' }));
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
    ({ page, complaints } = await openDemo(browser, `${url}/photos`, options));
    page.setDefaultTimeout(60_000);
  }

  it('enlarges the sample, tells how far it is, and compares', async () => {
    await page.evaluate(`
      globalThis.announced = [];
      const status = document.getElementById('photo-status');
      new MutationObserver(() => announced.push(status.textContent)).observe(status, { childList: true });`);
    await page.getByRole('button', { name: 'Sample' }).click();
    await page.locator('#download').waitFor();
    const announced: string[] = await page.evaluate('announced');
    expect(announced[0]).toBe('Sending…');
    expect(announced).toContain('0 of 24 tiles');
    expect(announced.filter((words) => /^\d+ of 24 tiles, about \d+ (s|min) left$/.test(words))).not.toEqual(
      [],
    );
    expect(announced.at(-1)).toMatch(/^404 × 276 became 808 × 552, 24 tiles in [\d.]+ s, [\d.]+ a second$/);
    expect(await page.locator('#photo-progress').isHidden()).toBe(true);
    expect(await page.getByRole('button', { name: 'Cancel' }).isHidden()).toBe(true);

    const enlarged = await downloaded();
    expect(await sharp(enlarged).metadata()).toMatchObject({ width: 808, height: 552, format: 'png' });
    const box = await page.locator('#comparison').boundingBox();
    expect((box?.width ?? 0) / (box?.height ?? 1)).toBeCloseTo(808 / 552, 2);
    const middle = await halves();
    await page.getByRole('slider').focus();
    await page.keyboard.press('Home');
    const after = await halves();
    await page.keyboard.press('End');
    const before = await halves();
    expect(difference(middle.left, before.left)).toBeLessThan(0.1);
    expect(difference(middle.right, after.right)).toBeLessThan(0.1);
    expect(difference(before.left, after.left)).toBeGreaterThan(1);
    expect(difference(before.right, after.right)).toBeGreaterThan(1);
    // The browser's and sharp's colours differ by a hair.
    await page.getByLabel('Pixel for pixel').check();
    const { x = 0, y = 0 } = (await page.locator('#comparison').boundingBox()) ?? {};
    const part = { left: 430, top: 150, width: 200, height: 350 };
    const clip = { x: x + part.left, y: y + part.top, width: part.width, height: part.height };
    await page.locator('#divider').fill('0');
    const shown = await sharp(await page.screenshot({ clip }))
      .removeAlpha()
      .raw()
      .toBuffer();
    const sent = await sharp(enlarged).extract(part).removeAlpha().raw().toBuffer();
    expect(difference(shown, sent)).toBeLessThan(1);
  });

  it('sharpens the tiles in their places; two photos share batches, by colour and in words', async () => {
    await page.getByRole('button', { name: 'Two at once' }).click();
    await page.getByText(/^[1-9]\d* of 24 tiles, about/).waitFor();
    // The grid in the photo's colour, and tiles that are there already.
    const drawn = await page.evaluate(`{
      const canvas = document.getElementById('tiles');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let seen = 0;
      for (let i = 3; i < data.length; i += 4) if (data[i] > 0) seen++;
      ({ width: canvas.width, height: canvas.height, share: seen / (canvas.width * canvas.height) }) }`);
    expect(drawn).toMatchObject({ width: 808, height: 552 });
    expect((drawn as { share: number }).share).toBeGreaterThan(0.02);
    const legend = await page.getByRole('list', { name: 'Legend' }).textContent();
    expect(legend).toMatch(/^photo 1photo 2full/);
    await page
      .locator('#shared')
      .getByText(/, [1-9]\d* shared$/)
      .waitFor();
    while ((await sharesDrawn(page)).some((pixels) => pixels < 100)) await page.waitForTimeout(50);
    // The first key pauses the timeline; from its last block on, back to one of both.
    await page.getByRole('application').focus();
    await page.keyboard.press('End');
    const sentence = page.locator('#timeline .sentence');
    const isOfBoth = async () =>
      /^[1-3] tiles? of photo 1, [1-3] of photo 2, /.test((await sentence.textContent()) ?? '');
    for (let block = 0; block < 12 && !(await isOfBoth()); block++) await page.keyboard.press('ArrowLeft');
    expect(await isOfBoth()).toBe(true);
    await page.locator('#download').waitFor();
    await page
      .locator('#shared')
      .getByText(/^12 batches, \d+ shared$/)
      .waitFor();
    expect(await page.locator('#tiles').isHidden()).toBe(true);
    expect(await faults(page)).toEqual([]);
  });

  it.each<[string, BrowserContextOptions]>([
    ['on a desktop', {}],
    ['in the dark', { colorScheme: 'dark' }],
    ['with forced colours', { forcedColors: 'active' }],
    ['on a phone', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
  ])(
    'shows photos and batches without scrolling and without a fault that axe finds, %s',
    async (name, options) => {
      await page.context().close();
      const viewport = { width: 1280, height: 800 };
      await open({ viewport, ...options });
      expect(await faults(page)).toEqual([]);
      await page.getByRole('button', { name: 'Two at once' }).click();
      await page
        .locator('#shared')
        .getByText(/^[1-9]/)
        .waitFor();
      const bottom = async (selector: string) => {
        const box = await page.locator(selector).boundingBox();
        return (box?.y ?? Infinity) + (box?.height ?? 0);
      };
      const { height } = options.viewport ?? viewport;
      expect(await bottom('#comparison')).toBeLessThan(height);
      expect(await bottom('#timeline canvas.timeline')).toBeLessThan(height);
      // On a phone the second photo is below.
      if (!name.includes('phone')) expect(await bottom('#companion')).toBeLessThanOrEqual(height);
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
      expect(await faults(page)).toEqual([]);
    },
  );

  it('says that the second photo failed, and goes on with the first', async () => {
    let photos = 0;
    await page.route('**/photos/upscale?tiles=true', async (route) => {
      if (++photos === 1) return route.continue();
      const full = { statusCode: 503, message: 'PhotoUpscaler is full', code: 'ERR_BATCHING_FULL' };
      return route.fulfill({ status: 503, json: full });
    });
    await page.getByRole('button', { name: 'Two at once' }).click();
    await page
      .getByText('The second photo could not be enlarged. The server has too much to do already.')
      .waitFor();
    expect(await faults(page)).toEqual([]);
    await page.locator('#download').waitFor();
    expect(await page.locator('#photo-error').isHidden()).toBe(true);
    // The next two begin without it.
    await page.unroute('**/photos/upscale?tiles=true');
    await page.getByRole('button', { name: 'Two at once' }).click();
    await page.locator('#companion-error').waitFor({ state: 'hidden' });
    await page.getByRole('button', { name: 'Cancel' }).click();
    // The browser logs the refusal as well.
    complaints = complaints.filter((complaint) => !complaint.includes('503'));
  });

  it('has a loupe, for the pointer and for the keyboard', async () => {
    await page
      .locator('#file')
      .setInputFiles({ name: 'a.png', mimeType: 'image/png', buffer: await corner(84, 84) });
    await page.locator('#download').waitFor();
    await page.getByLabel('Loupe', { exact: true }).check();
    const loupe = page.locator('#loupe');
    await loupe.focus();
    const place = () =>
      loupe.evaluate((element) => (element as unknown as { style: { left: string } }).style.left);
    expect(await place()).toBe('50%');
    await page.keyboard.press('ArrowRight');
    expect(await place()).toBe('52%');
    const box = await page.locator('#comparison').boundingBox();
    if (!box) throw new Error('there is no photo');
    await page.mouse.move(box.x + box.width / 4, box.y + box.height / 2);
    expect(Number.parseFloat(await place())).toBeCloseTo(25, 0);
    const halves = await loupe
      .locator('i')
      .evaluateAll((all) =>
        all.map((half) => (half as unknown as { style: { backgroundImage: string } }).style.backgroundImage),
      );
    expect(new Set(halves).size).toBe(2);
    await page.getByLabel('Loupe', { exact: true }).uncheck();
    expect(await loupe.isHidden()).toBe(true);
  });

  it.each([
    ['small', 5, 4],
    ['narrow', 4, 250],
    ['flat', 250, 4],
  ])('shows a %s photo large enough to compare', async (_, width, height) => {
    await page.locator('#file').setInputFiles({
      ...{ name: 'a.png', mimeType: 'image/png', buffer: await corner(width, height) },
    });
    await page.getByText(`${width} × ${height} became ${2 * width} × ${2 * height}`).waitFor();
    const box = await page.locator('#comparison').boundingBox();
    expect(box?.width).toBeGreaterThanOrEqual(96);
    expect(Math.max(box?.width ?? 0, box?.height ?? 0)).toBeGreaterThanOrEqual(320);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(1280);
  });

  it.each(['webp', 'gif'] as const)('takes a %s', async (format) => {
    const buffer = await sharp(await corner(84, 84))
      .toFormat(format)
      .toBuffer();
    await page.locator('#file').setInputFiles({ name: `a.${format}`, mimeType: `image/${format}`, buffer });
    await page.getByText('84 × 84 became 168 × 168, 1 tile in').waitFor();
  });

  it('can be cancelled, and pays no more then', async () => {
    const queue = () =>
      app
        .get(BatchingRegistry)
        .stats()
        .find(({ name }) => name === 'TileUpscaler.upscale');
    const aborted = queue()?.drops.aborted ?? 0;
    await page.getByRole('button', { name: 'Sample' }).click();
    await page.getByText(/^[1-9]\d* of 24 tiles, about/).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText(/^Cancelled after \d+ of 24 tiles$/).waitFor();
    while ((queue()?.drops.aborted ?? 0) <= aborted) await page.waitForTimeout(20);
    expect(await page.locator('#photo-progress').isHidden()).toBe(true);
    expect(await page.locator('#download').isHidden()).toBe(true);
    expect(await page.evaluate('document.activeElement.id')).toBe('choose');
  });

  it('takes what is chosen or dropped, and says what is wrong with what is no picture', async () => {
    const text = { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('photo') };
    await page.locator('#file').setInputFiles(text);
    await page.locator('#photo-error').getByText('That is no PNG, JPEG, WebP or GIF picture.').waitFor();
    expect(await page.locator('#comparison').isHidden()).toBe(true);

    const picture = await sharp(boats).extract({ left: 0, top: 0, width: 84, height: 84 }).png().toBuffer();
    await page.evaluate(
      `{ const data = new DataTransfer();
         const bytes = Uint8Array.from(atob('${picture.toString('base64')}'), (char) => char.charCodeAt(0));
         data.items.add(new File([bytes], 'corner.png', { type: 'image/png' }));
         document.getElementById('stage').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true })); }`,
    );
    await page.getByText('84 × 84 became 168 × 168, 1 tile in').waitFor();
    expect(await page.locator('#photo-error').isHidden()).toBe(true);
    expect(await page.locator('#download').getAttribute('download')).toBe('corner-2x.png');
    // The browser logs the refusal as well.
    complaints = complaints.filter((complaint) => !complaint.includes('415'));
  });

  it('offers to enlarge a smaller copy of what is too large', async () => {
    const large = await sharp(boats).resize(1200, 900, { fit: 'fill' }).jpeg().toBuffer();
    await page.locator('#file').setInputFiles({ name: 'large.jpg', mimeType: 'image/jpeg', buffer: large });
    await page.locator('#photo-error').getByText('at most 120000 pixels').waitFor();
    await page.getByRole('button', { name: 'Enlarge a smaller copy' }).click();
    await page.getByText(/^0 of \d+ tiles/).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    complaints = complaints.filter((complaint) => !complaint.includes('413'));
  });

  it.each([360])('fits on a phone, %i pixels wide', async (width) => {
    await page.context().close();
    await open({ viewport: { width, height: 780 }, hasTouch: true, isMobile: true });
    await page.getByRole('button', { name: 'Sample' }).tap();
    await page.locator('#download').waitFor();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    await page.getByLabel('Pixel for pixel').tap();
    expect(await page.locator('#comparison').boundingBox()).toMatchObject({ width: 808 });
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    // A finger pans the photo, on the divider too.
    const touch = await page.context().newCDPSession(page);
    await page.evaluate('scrollTo(0, 0)');
    const stage = await page.locator('#stage').boundingBox();
    if (!stage) throw new Error('there is no stage');
    const [x, y] = [stage.x + stage.width / 2, stage.y + Math.min(stage.height, 300) / 2];
    await touch.send('Input.synthesizeScrollGesture', { x, y, xDistance: -120, yDistance: 0 });
    expect(await page.evaluate("document.getElementById('stage').scrollLeft")).toBeGreaterThan(50);
    expect(await page.getByRole('slider').inputValue()).toBe('50');
    expect(await faults(page)).toEqual([]);
  });

  it('says when the server is gone, and goes on when it is back', async () => {
    const { port } = new URL(url);
    const photo = { name: 'a.png', mimeType: 'image/png', buffer: await corner(84, 84) };
    await page.locator('#file').setInputFiles(photo);
    await page.locator('#shared').getByText('1 batch, 0 shared').waitFor();
    await app.close();
    await page.getByText('The connection to the server is lost').waitFor();
    await page.getByText('not connected').waitFor();
    await page.getByRole('button', { name: 'Sample' }).click();
    await page.getByText('The server cannot be reached. Is it still running?').waitFor();
    expect(await faults(page)).toEqual([]);
    ({ app } = await startDemo({ PORT: port, MAX_PHOTO_PIXELS: '120000' }));
    await page.getByText('live', { exact: true }).waitFor();
    await page.locator('#timeline-note').getByText('up to 4 a batch').waitFor();
    expect(await page.locator('#photo-error').isHidden()).toBe(true);
    // The new process numbers its batches anew: none of them is of a photo that the old one has enlarged.
    expect(await page.locator('#shared').textContent()).toBe('');
    await page.locator('#file').setInputFiles(photo);
    await page.getByText('84 × 84 became 168 × 168, 1 tile in').waitFor();
    await page.locator('#shared').getByText('1 batch, 0 shared').waitFor();
    complaints = complaints.filter((complaint) => !complaint.includes('ERR_CONNECTION_REFUSED'));
  });

  /** What of the comparison lies on the left and on the right of the divider's handle in the middle. */
  async function halves(): Promise<{ left: Buffer; right: Buffer }> {
    return halvesOf(await page.locator('#comparison').screenshot());
  }

  async function downloaded(): Promise<Buffer> {
    const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#download').click()]);
    expect(download.suggestedFilename()).toBe('boats-2x.png');
    return readFile(await download.path());
  }
});

function corner(width: number, height: number): Promise<Buffer> {
  return sharp(boats).extract({ left: 0, top: 0, width, height }).png().toBuffer();
}

async function halvesOf(picture: Buffer): Promise<{ left: Buffer; right: Buffer }> {
  const { width, height } = await sharp(picture).metadata();
  const share = (length: number, of: number) => Math.round(length * of);
  const size = { top: share(height, 0.2), width: share(width, 0.36), height: share(height, 0.7) };
  const part = (left: number) =>
    sharp(picture)
      .extract({ left: share(width, left), ...size })
      .removeAlpha()
      .raw()
      .toBuffer();
  return { left: await part(0.06), right: await part(0.58) };
}

/** Mean absolute difference of two pictures, of 255. */
function difference(one: Buffer, other: Buffer): number {
  return one.reduce((sum, value, i) => sum + Math.abs(value - (other[i] ?? 0)), 0) / one.length;
}
