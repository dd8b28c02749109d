import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { BatchingRegistry } from 'nest-batching';
import type { Browser, BrowserContextOptions, Page, Route } from 'playwright-core';
import sharp from 'sharp';
import { type Digit, DigitClassifier } from '../apps/demo-api/src/digits/digit-classifier.js';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { Race } from '../apps/demo-api/src/race/race.js';
import { faults, findChromium, launch, openDemo } from './browser.js';
import { postJson, send, startDemo } from './demo.js';

const executablePath = await findChromium();
const phone: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
};

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

    expect(await inkAt(0.5, 0.5)).toBe(true);
    for (const name of ['notes.txt', 'renamed.png']) {
      const mimeType = name.endsWith('png') ? 'image/png' : 'text/plain';
      await page.locator('#file').setInputFiles({ name, mimeType, buffer: Buffer.from('7') });
      await page.locator('#reader-error').getByText('That is no PNG, JPEG, WebP or GIF picture.').waitFor();
      await expectDigit('–');
      // The picture before has gone, as its verdict has.
      expect(await page.evaluate(isBlank)).toBe(true);
    }

    const white = await sharp({ create: { width: 40, height: 40, channels: 3, background: 'white' } })
      .png()
      .toBuffer();
    await page.locator('#file').setInputFiles({ name: 'w.png', mimeType: 'image/png', buffer: white });
    await page.locator('#reader-error').getByText('No single digit stands out in that picture.').waitFor();
    // The browser logs the refusal as well.
    complaints = complaints.filter((complaint) => !complaint.includes('422'));
  });

  it('shows no verdict for a picture that is not on the paper, and how its digit travelled', async () => {
    const held: Route[] = [];
    await page.route('**/digits?journey=true', (route) => void held.push(route));
    const sample = page.getByRole('button', { name: 'Sample' });
    const clear = page.getByRole('button', { name: 'Clear' });
    const answer = (digit: number) => ({
      ...{ digit, confidence: 1, scores: Array<number>(10).fill(0.1) },
      journey: { batch: 1, size: 47, place: 5, reason: 'size', waited: 4, ran: 13.2 },
    });
    await sample.click();
    await until(() => held.length === 1);
    await page.getByText('Reading…').waitFor();
    await sample.click();
    await until(() => held.length === 2);
    // The page has given this one up.
    await held[0]?.fulfill({ json: answer(3) }).catch(() => undefined);
    expect(await page.locator('#digit').textContent()).toBe('…');
    await held[1]?.fulfill({ json: answer(7) });
    await expectDigit('7');
    expect(await page.locator('#journey').textContent()).toBe(
      'Waited 4.0 ms, travelled with 46 others, ran 13 ms.',
    );
    const cells = () => page.evaluate<string>("document.getElementById('journey-cells').toDataURL()");
    const drawn = await cells();
    await clear.click();
    await expectDigit('–');
    expect((await cells()) === drawn).toBe(false);
    await sample.click();
    await until(() => held.length === 3);
    await clear.click();
    await held[2]?.fulfill({ json: answer(5) }).catch(() => undefined);
    await page.getByText('Nothing to read yet').waitFor();
    await expectDigit('–');
  });

  it('can be used with the keyboard alone', async () => {
    await page.getByRole('button', { name: 'Sample' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('#digit:not([data-empty])').waitFor();
    expect(await page.locator('#digit').textContent()).toMatch(/^\d$/);

    await page.locator('#count').focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByText('Read right', { exact: true }).waitFor();
    expect(await page.locator('#count-shown').textContent()).toBe('2');
    expect(await page.locator('#crowd :checked').inputValue()).toBe('32');
    // It stays where it was, also while the button does something else.
    expect(await page.evaluate('document.activeElement.id')).toBe('send');
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
    await page.locator(`#crowd input[value="${parcel}"]`).check();
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

  it('counts the batches of a crowd once, also when it was hidden meanwhile', async () => {
    const hide = (hidden: boolean) =>
      page.evaluate(`{
        Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }`);
    const stats = () => app.get(BatchingRegistry).get('DigitClassifier.classify').stats();
    const before = stats().batches;
    await page.getByRole('button', { name: 'Send' }).click();
    await page.locator('#crowd-status').getByText(' of 300').waitFor();
    await hide(true);
    await hide(false);
    await page.getByText('Read right', { exact: true }).waitFor();
    const told = await page.locator('#crowd-batches').textContent();
    expect(told).toContain(`${stats().batches - before} batches of `);
  });

  it('tells how far a long crowd is, and can be cancelled', async () => {
    await page.locator('#count').fill('2000');
    await page.getByRole('button', { name: 'Send' }).focus();
    await page.keyboard.press('Enter');
    await page
      .locator('#crowd-status')
      .getByText(/^[1-9]\d* of 2,000$/)
      .waitFor();
    expect(Number(await page.locator('#crowd-progress').getAttribute('value'))).toBeGreaterThan(0);
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Cancel');
    await page.keyboard.press('Enter');
    await page
      .locator('#crowd-status')
      .getByText(/^Cancelled after \d+ of 2,000\.$/)
      .waitFor();
    await page.getByText('Read right', { exact: true }).waitFor();
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Send');
    expect(await page.locator('#crowd-error').isHidden()).toBe(true);
  });

  it('says little to a screen reader while much changes', async () => {
    await page.evaluate(`{
      globalThis.said = 0;
      new MutationObserver((changes) => {
        for (const { target } of changes) {
          const element = target.nodeType === 1 ? target : target.parentElement;
          if (element?.closest('output, [role=status], [role=alert], [aria-live]')) said++;
        }
      }).observe(document.body, { subtree: true, childList: true, characterData: true });
    }`);
    await page.locator('#count').focus();
    await page.keyboard.press('Home');
    for (let step = 1; step < 60; step++) await page.keyboard.press('ArrowRight');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('Read right', { exact: true }).waitFor();
    expect(await page.locator('#count-shown').textContent()).toBe('60');
    expect(await page.evaluate('said')).toBeLessThan(5);
  });

  it('shows the queue as it is, and where the network runs', async () => {
    await drawSeven();
    await expectDigit('7');
    await page.getByText('up to 64 a batch · wait up to 5 ms · adaptive · 2 slots').waitFor();
    await page
      .locator('#where')
      .getByText(/^\w+ on \w+/)
      .waitFor();
    await page
      .locator('#rate')
      .getByText(/^[\d,]+ digits\/s$/)
      .waitFor();
    await page.getByRole('application', { name: /^Timeline of the batches of DigitClassifier/ }).waitFor();
    await page.getByRole('radio', { name: 'Batched' }).check();
    await page.getByRole('application', { name: /^Timeline of the batches of RaceLanes\.batched/ }).waitFor();
  });

  describe('The race', () => {
    it('plays both lanes as they were measured, and says how much faster the batched one was', async () => {
      const start = page.getByRole('button', { name: 'Start the race' });
      await start.focus();
      await page.keyboard.press('Enter');
      await page.locator('#race-words').getByText('Measuring one by one').waitFor();
      expect(await page.locator('#timeline').getAttribute('queue')).toBe('RaceLanes.oneByOne');
      await page.locator('#race-words').getByText('Measuring in batches').waitFor();
      expect(await page.locator('#timeline').getAttribute('queue')).toBe('RaceLanes.batched');
      await page.locator('#race-words').getByText('Played as it was measured').waitFor();
      await page.getByRole('button', { name: 'Race again' }).waitFor();
      const text = async (selector: string) => (await page.locator(selector).textContent()) ?? '';
      const number = async (selector: string) => Number((await text(selector)).replaceAll(/[^\d.]/g, ''));
      const [single, batched] = [await number('#lane-oneByOne b'), await number('#lane-batched b')];
      expect(await text('#race-clock')).toBe('2.00 s');
      expect(await text('#race-ratio')).toMatch(/^\d+\.\d × as fast$/);
      expect(Math.abs((await number('#race-ratio')) - batched / single)).toBeLessThan(
        0.06 + batched / single ** 2,
      );
      expect(await text('#race-spoken')).toBe(
        `Batched is ${await text('#race-ratio')}: ${batched.toLocaleString('en')} digits per second ` +
          `against ${single.toLocaleString('en')} one by one.`,
      );
      expect(await page.evaluate('document.activeElement.id')).toBe('race-button');
      expect(await faults(page)).toEqual([]);
    });

    it('is honest where batching does not pay, and does not play where less movement is wanted', async () => {
      await page.emulateMedia({ reducedMotion: 'reduce' });
      const lane = (rate: number) => ({
        ...{ batchSize: 1, digits: 2 * rate, rate, meanBatch: 1 },
        read: Array.from({ length: 100 }, (_, step) => Math.round((2 * rate * (step + 1)) / 100)),
      });
      const result = {
        callers: 64,
        time: 2000,
        step: 20,
        oneByOne: lane(900),
        batched: lane(720),
        ratio: 0.8,
      };
      await page.route('**/race?callers=64', (route) =>
        route.fulfill({
          contentType: 'text/event-stream',
          body: `event: result\ndata: ${JSON.stringify(result)}\n\n`,
        }),
      );
      await page.getByRole('radio', { name: '64', exact: true }).check();
      await page.getByRole('button', { name: 'Start the race' }).click();
      await page.getByText('0.8 × as fast', { exact: true }).waitFor();
      await page.getByText('Batching does not pay here.').waitFor();
    });

    it('is run once at a time: in two tabs, of which one leaves in the middle', async () => {
      const classifier = app.get(DigitClassifier);
      const classify = classifier.classify.bind(classifier);
      let release!: () => void;
      const released = new Promise<void>((resolve) => (release = resolve));
      // Or the first race might be over before the second one begins.
      jest.spyOn(classifier, 'classify').mockImplementation(async (pictures) => {
        await released;
        return classify(pictures);
      });
      const run = jest.spyOn(app.get(Race), 'run');
      await page.getByRole('button', { name: 'Start the race' }).click();
      await page.locator('#race-words').getByText('Measuring').waitFor();
      expect(await faults(page)).toEqual([]);
      const other = await openDemo(browser, url);
      const start = other.page.getByRole('button', { name: 'Start the race' });
      await start.click();
      await other.page.getByText(/^Another visitor's race is being measured\. Try again in /).waitFor();
      await page.reload();
      await expect(run.mock.results[0]?.value).rejects.toMatchObject({ code: 'ERR_CLIENT_GONE' });
      await start.click();
      await other.page.getByRole('button', { name: 'Cancel' }).click();
      await other.page.getByText('Cancelled.', { exact: true }).waitFor();
      await start.waitFor();
      await expect(run.mock.results[2]?.value).rejects.toMatchObject({ code: 'ERR_CLIENT_GONE' });
      release();
      jest.restoreAllMocks();
      await other.page.context().close();
      expect(other.complaints.filter((complaint) => !complaint.includes('409'))).toEqual([]);
    });
  });

  it.each<[string, BrowserContextOptions]>([
    ['light', {}],
    ['dark', { colorScheme: 'dark' }],
    ['with forced colours', { forcedColors: 'active' }],
    ['on a phone', phone],
  ])('has no fault that axe finds, %s', async (_, options) => {
    await page.context().close();
    await open({ viewport: { width: 1280, height: 800 }, ...options });
    expect(await faults(page)).toEqual([]);
    await page.getByRole('button', { name: 'Sample' }).click();
    await page.locator('#count').fill('40');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('Read right', { exact: true }).waitFor();
    await page.locator('#digit:not([data-empty])').waitFor();
    expect(await faults(page)).toEqual([]);
  });

  it.each([
    ['a desktop', { width: 1280, height: 800 }],
    ['a phone', { width: 390, height: 844 }],
  ])('shows the race and the timeline without scrolling on %s', async (_, viewport) => {
    await page.setViewportSize(viewport);
    await page.locator('#timeline').evaluate('document.fonts.ready');
    const bottom = async (selector: string) => {
      const box = await page.locator(selector).boundingBox();
      return (box?.y ?? Infinity) + (box?.height ?? 0);
    };
    expect(await bottom('.race')).toBeLessThan(viewport.height);
    expect(await bottom('#timeline canvas.timeline')).toBeLessThan(viewport.height);
  });

  it('keeps its layout while it loads and while answers come, on a phone', async () => {
    await page.context().close();
    await open({ ...phone, reducedMotion: 'reduce' });
    // As on a slow network: the page is seen before its timeline is there.
    await page.route('**/timeline.js', async (route) => {
      const isPainted = () =>
        page.evaluate<boolean>("performance.getEntriesByName('first-contentful-paint').length > 0");
      while (!(await isPainted())) await page.waitForTimeout(20);
      await route.continue();
    });
    await page.reload();
    await page.locator('#rate').getByText('digits/s').waitFor();
    // An emulated phone counts its first moments as input.
    expect(await layoutShift(() => true)).toBeLessThan(0.1);
    await page.getByRole('button', { name: 'Start the race' }).tap();
    await page.locator('#race-ratio').getByText('as fast').waitFor();
    await page.getByRole('button', { name: 'Sample' }).tap();
    await page.locator('#digit:not([data-empty])').waitFor();
    await page.getByRole('button', { name: 'Send' }).tap();
    await page.getByText('Read right', { exact: true }).waitFor();
    expect(await layoutShift((shift) => !shift.hadRecentInput)).toBeLessThan(0.1);
  });

  it('works on a slow network', async () => {
    const session = await page.context().newCDPSession(page);
    await session.send('Network.emulateNetworkConditions', {
      ...{ offline: false, latency: 500, downloadThroughput: 50_000, uploadThroughput: 50_000 },
    });
    await page.reload();
    await page.getByText('live', { exact: true }).waitFor();
    await drawSeven();
    await page.getByText('Reading…').waitFor();
    await expectDigit('7');
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
    await open(phone);
    await page.locator('#board').scrollIntoViewIfNeeded();
    const scrolled = await page.evaluate('scrollY');
    const touch = await page.context().newCDPSession(page);
    const at = await paperPoints();
    const dispatch = (type: string, ...touchPoints: { x: number; y: number }[]) =>
      touch.send('Input.dispatchTouchEvent', { type: type as 'touchStart', touchPoints });
    const [first, ...rest] = seven.map(([x, y]) => at(x, y));
    if (first) await dispatch('touchStart', first);
    for (const point of rest) await dispatch('touchMove', point);
    await dispatch('touchEnd');
    await expectDigit('7');
    expect(await page.evaluate('scrollY')).toBe(scrolled);

    // Two fingers draw two lines, not one to and fro.
    await page.getByRole('button', { name: 'Clear' }).tap();
    const fingers = (y: number) => [0.2, 0.8].map((x, id) => ({ ...at(x, y), id }));
    await dispatch('touchStart', ...fingers(0.2));
    for (const y of [0.4, 0.6, 0.8]) await dispatch('touchMove', ...fingers(y));
    await dispatch('touchEnd');
    expect([await inkAt(0.2, 0.5), await inkAt(0.5, 0.5), await inkAt(0.8, 0.5)]).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('says when the server is gone, leaves it alone, and goes on by itself when it is back', async () => {
    const { port } = new URL(url);
    await page.locator('#count').fill('2000');
    await page.getByRole('button', { name: 'Send' }).click();
    await page
      .locator('#crowd-status')
      .getByText(/^\d+ of 2,000$/)
      .waitFor();
    // As if it were killed: nothing is answered to its end.
    (app.getHttpServer() as import('node:http').Server).closeAllConnections();
    const closed = app.close();
    await page.locator('#crowd-error').getByText('cannot be reached').waitFor();
    await closed;
    await page.getByText('The connection to the server is lost').waitFor();
    await page.getByText('not connected').waitFor();
    await drawSeven();
    await page
      .locator('#reader-error')
      .getByText('The server cannot be reached. Is it still running?')
      .waitFor();
    await page.getByRole('button', { name: 'Start the race' }).click();
    await page.locator('#race-error').getByText('cannot be reached').waitFor();
    expect(await faults(page)).toEqual([]);
    // One of each request that was under way, of the race, and of each attempt to get the connection back.
    expect(complaints.length).toBeLessThan(30);

    // As a proxy answers for a server that starts.
    const isStarting = (route: Route) => route.fulfill({ status: 502, body: 'Bad Gateway' });
    await page.route('**/batching/events*', isStarting);
    await page.getByText('The server does not show its batches now').waitFor({ timeout: 30_000 });
    ({ app } = await startDemo({ PORT: port }));
    await page.unroute('**/batching/events*', isStarting);
    await page.getByText('live', { exact: true }).waitFor({ timeout: 30_000 });
    await page.getByText('The connection to the server is lost').waitFor({ state: 'hidden' });
    for (const error of ['#reader-error', '#race-error', '#crowd-error']) {
      await page.locator(error).waitFor({ state: 'hidden' });
    }
    // What is on the paper is read without being drawn again.
    await expectDigit('7');
    complaints = complaints.filter((complaint) => !/ERR_(CONNECTION|INCOMPLETE|EMPTY)|502/.test(complaint));
  });

  it('does when the server is back what it was kept from: takes a sample, reads a file as it is', async () => {
    const { pixels } = (await loadTestDigits())[1] ?? { pixels: new Uint8Array(784) };
    const buffer = await sharp(pixels, { raw: { width: 28, height: 28, channels: 1 } })
      .png()
      .toBuffer();
    const unreachable = page.locator('#reader-error').getByText('cannot be reached');
    const lose = async () => {
      await page.getByText('live', { exact: true }).waitFor();
      await page.context().setOffline(true);
      // The browser lets what is open already go on.
      (app.getHttpServer() as import('node:http').Server).closeAllConnections();
      await page.getByText('The connection to the server is lost').waitFor();
    };
    await lose();
    await page.getByRole('button', { name: 'Sample' }).click();
    await unreachable.waitFor();
    await page.context().setOffline(false);
    await page.locator('#digit:not([data-empty])').waitFor();
    await unreachable.waitFor({ state: 'hidden' });

    await lose();
    await page.locator('#file').setInputFiles({ name: '2.png', mimeType: 'image/png', buffer });
    await unreachable.waitFor();
    // Chromium does not tell what is in a file that is sent.
    await page.evaluate(`{
      const send = fetch;
      window.sent = [];
      window.fetch = (input, init) => (init?.body && sent.push(init.body.name), send(input, init));
    }`);
    await page.context().setOffline(false);
    await expectDigit('2');
    expect(await page.evaluate('sent')).toEqual(['2.png']);
    complaints = complaints.filter((complaint) => !/ERR_(INTERNET|INCOMPLETE)/.test(complaint));
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

  /** Whether something is drawn there, given as shares of the paper. */
  function inkAt(x: number, y: number): Promise<boolean> {
    return page.evaluate<boolean>(`(() => {
      const canvas = document.getElementById('board');
      const at = [${x} * canvas.width - 6, ${y} * canvas.height - 6, 12, 12];
      return canvas.getContext('2d').getImageData(...at).data.some((value) => value > 0);
    })()`);
  }

  /** How far what is seen has moved so far, as the sum of the shifts that count. */
  async function layoutShift(counts: (shift: { hadRecentInput: boolean }) => boolean): Promise<number> {
    const shifts = await page.evaluate<
      { value: number; hadRecentInput: boolean }[]
    >(`new Promise((resolve) => {
      const shifts = [];
      new PerformanceObserver((list) => {
        for (const { value, hadRecentInput } of list.getEntries()) shifts.push({ value, hadRecentInput });
      }).observe({ type: 'layout-shift', buffered: true });
      setTimeout(() => resolve(shifts), 200);
    })`);
    return shifts.filter(counts).reduce((sum, { value }) => sum + value, 0);
  }

  async function expectDigit(digit: string): Promise<void> {
    await page.locator('#digit').getByText(digit, { exact: true }).waitFor();
  }
});

/** Whether nothing is on the paper. */
const isBlank = `(() => {
  const canvas = document.getElementById('board');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.every((value) => value === 0);
})()`;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** How a 7 is drawn, as shares of the paper. */
const seven = [
  [0.3, 0.25],
  [0.5, 0.24],
  [0.7, 0.23],
  [0.6, 0.45],
  [0.52, 0.65],
  [0.46, 0.82],
] as const;
