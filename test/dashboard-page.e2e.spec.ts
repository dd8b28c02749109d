import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, request as proxied } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { MemoryBroker, memoryTransport } from 'nest-batching/testing';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { faults, findChromium, launch, openPage, sharesDrawn } from './browser.js';
import { type BatchingDashboardOptions, type DashboardApp, Digits, startApp } from './dashboard.js';

const executablePath = await findChromium();

(executablePath ? describe : describe.skip)('The dashboard in headless Chromium', () => {
  let browser: Browser;
  let running: DashboardApp | undefined;
  let traffic: Traffic | undefined;
  let opened: { page: Page; complaints: string[] }[] = [];

  beforeAll(async () => {
    browser = await launch(executablePath);
  });
  afterAll(() => browser.close());
  afterEach(async () => {
    await traffic?.stop();
    for (const { page } of opened) await page.context().close();
    await running?.app.close();
    const complaints = opened.flatMap((each) => each.complaints);
    opened = [];
    traffic = running = undefined;
    expect(complaints.filter((complaint) => !complaint.includes('ERR_CONNECTION_REFUSED'))).toEqual([]);
  });

  async function start(options: BatchingDashboardOptions = {}, more: Parameters<typeof startApp>[1] = {}) {
    running = await startApp(options, more);
    return running;
  }

  async function open(url: string, options: BrowserContextOptions = {}): Promise<Page> {
    const each = await openPage(browser, url, { viewport: { width: 1280, height: 800 }, ...options });
    opened.push(each);
    await each.page.getByText('live', { exact: true }).waitFor();
    return each.page;
  }

  async function openLive(options: BrowserContextOptions = {}, dashboard: BatchingDashboardOptions = {}) {
    const app = await start(dashboard);
    traffic = new Traffic(app);
    const page = await open(`${app.url}/batching`, options);
    await figure(page, 'Inputs/s', /[1-9]/);
    // The picture is behind the server: now batches are in it as well.
    await page
      .getByText(/^All figures: the last \d+ s$/)
      .first()
      .waitFor();
    return { app, page };
  }

  it.each<[string, BrowserContextOptions]>([
    ['live', {}],
    ['dark', { colorScheme: 'dark' }],
    ['with forced colours', { forcedColors: 'active' }],
    ['with less movement', { reducedMotion: 'reduce' }],
    ['on a phone', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
  ])('has no fault that axe finds, %s', async (_, options) => {
    const { page } = await openLive(options, { tune: true, unguarded: true });
    await page.getByText('The last batches as a table').first().click();
    expect(await faults(page)).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
  });

  it('shows figures that agree with each other and with the queue', async () => {
    const { digits, url } = await start();
    const page = await open(`${url}/batching`);
    await Promise.allSettled(digits.submitMany([1, 2, 3, -1]));
    await figure(page, 'Errors', /^1/);
    const of = (name: string) => figure(page, name, /./);
    expect(await of('Inputs/s')).toContain('4 ended');
    expect(await of('Batches/s')).toContain('4.0 inputs each');
    expect(await of('Errors')).toBe('125 % of inputs');
    expect(await of('Dropped')).toBe('0never ran');
    const section = page.getByRole('region', { name: 'Digits.classify', exact: true });
    expect(await section.locator('.span').textContent()).toMatch(/^All figures: the last (moment|\d+ s)$/);
    expect(await section.locator('.split .bar-title').textContent()).toMatch(
      /^Mean latency [\d.]+ ms = waited [\d.]+ ms \+ ran [\d.]+ ms/,
    );
  });

  it('says of an empty page what is missing', async () => {
    const { url } = await start({}, { isEmpty: true });
    const page = await open(`${url}/batching`);
    await page.getByText('No queues. There is one for each method marked with').waitFor();
    expect(await faults(page)).toEqual([]);
  });

  it('shows the nodes: who serves what, what each has and may have, and what waits in the broker', async () => {
    const broker = new MemoryBroker();
    const node = () => ({ transport: memoryTransport({ broker }), serve: [Digits] });
    const { url } = await start({}, { batching: node() });
    const other = await startApp({}, { batching: node() });
    let release: () => void = () => undefined;
    Digits.hold = new Promise((resolve) => (release = resolve));
    const caller = memoryTransport({ broker });
    try {
      caller.open({ errors: new Map(), warn: () => undefined });
      const calls = Array.from({ length: 250 }, (_, x) =>
        caller.call('Digits.classify', x).catch(() => undefined),
      );
      const page = await open(`${url}/batching`);
      const nodes = page.getByRole('region', { name: 'Nodes', exact: true });
      await nodes.getByText('over memory, connected').waitFor();
      // Each may have three batches of 32, and the rest waits.
      await nodes.getByRole('row', { name: /^Digits\.classify 58 0 .* \(this process\) 96 96 0$/ }).waitFor();
      await nodes.getByRole('row', { name: /^\S+:\d+ 96 96 0$/ }).waitFor();
      expect(await faults(page)).toEqual([]);
      await page.setViewportSize({ width: 390, height: 844 });
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
      release();
      await Promise.all(calls);
    } finally {
      Digits.hold = undefined;
      release();
      await caller.close();
      await other.app.close();
    }
  });

  it('draws what happens, and stands still when it is paused', async () => {
    const { page } = await openLive();
    const drawn = () => page.evaluate<string>("document.querySelector('canvas.timeline').toDataURL()");
    const first = await drawn();
    await expect(changed(drawn, first)).resolves.toBe(true);
    await page.getByRole('button', { name: 'Pause' }).click();
    expect(await page.getByRole('button', { name: 'Pause' }).getAttribute('aria-pressed')).toBe('true');
    // On a busy machine the frames that were under way take their time.
    let still = await drawn();
    for (let last = ''; last !== still;) {
      await sleep(300);
      [last, still] = [still, await drawn()];
    }
    const figures = await page.locator('.figures').first().textContent();
    await sleep(1500);
    // Not toBe(): it would print both pictures.
    expect((await drawn()) === still).toBe(true);
    expect(await page.locator('.figures').first().textContent()).toBe(figures);
    expect(await faults(page)).toEqual([]);
    await page.getByRole('button', { name: 'Pause' }).click();
    await expect(changed(drawn, still)).resolves.toBe(true);
  });

  it('can be read with the keyboard alone, batch by batch', async () => {
    const { page } = await openLive({}, { tune: true, unguarded: true });
    const reached: string[] = [];
    for (let press = 0; press < 12; press++) {
      await page.keyboard.press('Tab');
      reached.push(
        await page.evaluate<string>('document.activeElement.ariaLabel ?? document.activeElement.name ?? ""'),
      );
      if (reached.at(-1)?.startsWith('Timeline')) break;
    }
    expect(reached.at(-1)).toMatch(/^Timeline of the batches of Digits\.classify/);
    const sentence = page.locator('.sentence').first();
    await page.keyboard.press('ArrowLeft');
    const last = await sentence.textContent();
    expect(last).toMatch(
      /^\d+ inputs?(, (full|delay over|slot free|drained)| in \d+ batches).*, waited .* ms/,
    );
    // What moves cannot be stepped through.
    expect(await page.getByRole('button', { name: 'Pause' }).getAttribute('aria-pressed')).toBe('true');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowDown');
    expect(await sentence.textContent()).toMatch(/waited/);
    await page.keyboard.press('Escape');
    await sentence.getByText('Point at a batch').waitFor();
    const outline = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle');
    expect(outline).toBe('solid');
  });

  it('tells a batch that is pointed at, and one that is tapped', async () => {
    const { app, page } = await openLive();
    await traffic?.stop();
    await app.digits(1);
    await page.getByRole('button', { name: 'Pause' }).click();
    const canvas = page.locator('canvas.timeline').first();
    const box = await canvas.boundingBox();
    if (!box) throw new Error('there is no timeline');
    // From the right edge to the left until a batch is hit.
    const tip = page.locator('.tip').first();
    for (let x = box.x + box.width - 80; x > box.x && (await tip.isHidden()); x -= 3) {
      await page.mouse.move(x, box.y + 60);
      await sleep(60);
    }
    await page.mouse.down();
    await page.mouse.up();
    const told = await page.locator('.sentence').first().textContent();
    expect(told).toMatch(/^\d+ inputs?.*waited .*ran/);
    // On a busy machine the tip comes to where the pointer is later.
    await tip.getByText(told ?? '', { exact: true }).waitFor();
  });

  it('tells a batch that a finger taps, on a phone', async () => {
    const { page } = await openLive({
      viewport: { width: 390, height: 844 },
      hasTouch: true,
      isMobile: true,
    });
    await page.getByRole('button', { name: 'Pause' }).tap();
    const canvas = page.locator('canvas.timeline').first();
    const sentence = page.locator('.sentence').first();
    await canvas.scrollIntoViewIfNeeded();
    const box = await canvas.boundingBox();
    if (!box) throw new Error('there is no timeline');
    // From the inputs that wait, at the right, to the left until a batch is hit.
    const told = async () => (await sentence.textContent()) ?? '';
    for (let right = 40; right < box.width && !(await told()).includes('waited'); right += 3) {
      await page.touchscreen.tap(box.x + box.width - right, box.y + 60);
    }
    expect(await told()).toMatch(/^\d+ inputs?.*, waited .*, (ran|has run for) /);
    // The tip is for what hovers, as no finger does.
    expect(await page.locator('.tip').first().isHidden()).toBe(true);
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
  });

  it('tells of a batch that was tapped while it ran how long it has run when it has ended', async () => {
    let release: () => void = () => undefined;
    Digits.hold = new Promise((resolve) => (release = resolve));
    try {
      const { digits, url } = await start();
      const page = await open(`${url}/batching`);
      const call = digits(1);
      const canvas = page.locator('canvas.timeline').first();
      const sentence = page.locator('.sentence').first();
      // A running block grows at the right, in front of the inputs that wait.
      for (
        let right = 40;
        !(await sentence.textContent())?.includes('has run for');
        right = 40 + (right % 100)
      ) {
        const box = await canvas.boundingBox();
        if (box) await page.mouse.click(box.x + box.width - right, box.y + 60);
        await sleep(50);
      }
      release();
      await call;
      await sentence.getByText(/^1 input, .*, waited .*, ran /).waitFor();
    } finally {
      Digits.hold = undefined;
      release();
    }
  });

  it('has its data as text', async () => {
    const { app, page } = await openLive();
    await page.getByText('The last batches as a table').first().click();
    const rows = page.locator('.data').first().locator('tbody tr');
    await rows.first().waitFor();
    expect((await rows.first().locator('td').allTextContents()).slice(1)).toEqual([
      expect.stringMatching(/^[12]$/),
      expect.stringMatching(/^[\d,]+$/),
      expect.stringMatching(/^[\d,]+$/),
      expect.stringMatching(/^(full|delay over|slot free|drained)$/),
      expect.stringMatching(/^[\d.]+ m?s$/),
      expect.stringMatching(/^[\d.]+ m?s$/),
      expect.stringMatching(/^\d+$/),
    ]);
    expect(app.digits.queue.stats().batches).toBeGreaterThan(0);
  });

  it('tunes a queue: by a number, a slider, and a choice, and plots what came of it', async () => {
    const { app, page } = await openLive({}, { tune: true, unguarded: true });
    const form = page.getByRole('form', { name: 'Settings of Digits.classify' });
    const settings = () => app.digits.queue.stats().options;
    await form.getByLabel('Batch size', { exact: true }).fill('4');
    await form.getByLabel('Batch size', { exact: true }).press('Enter');
    await until(() => settings().batchSize === 4);
    await page.getByText('since the settings were changed').first().waitFor();
    const trials = page.locator('.trials').first();
    await trials.getByText('4 · 5 ms · adaptive', { exact: true }).waitFor();
    await form.getByLabel('Longest wait, ms, in steps').focus();
    await page.keyboard.press('ArrowRight');
    await until(() => settings().maxDelay === 8);
    await form.getByLabel('fixed').check();
    await until(() => settings().dispatch === 'fixed');
    await until(async () => (await page.evaluate('location.hash')) === '#Digits.classify=4,8,fixed');
    await trials.getByText('4 · 8 ms · fixed', { exact: true }).waitFor();
    expect(await trials.locator('circle').count()).toBeGreaterThanOrEqual(2);
    expect(await faults(page)).toEqual([]);
    await form.getByRole('button', { name: 'As at the start' }).click();
    await until(
      () => settings().batchSize === 32 && settings().maxDelay === 5 && settings().dispatch === 'adaptive',
    );
    await until(async () => (await page.evaluate('location.hash')) === '');
  });

  it('says why a setting was not taken, and shows the one in force', async () => {
    const { app, page } = await openLive({}, { tune: true, unguarded: true });
    await page.route('**/settings', (route) =>
      route.fulfill({ status: 403, json: { message: 'Forbidden resource' } }),
    );
    await page.getByLabel('Batch size', { exact: true }).first().fill('7');
    await page.getByLabel('Batch size', { exact: true }).first().press('Enter');
    await page.getByText('Not changed (403): Forbidden resource').waitFor();
    expect(await page.getByLabel('Batch size', { exact: true }).first().inputValue()).toBe('32');
    expect(app.digits.queue.batchSize).toBe(32);
    expect(opened[0]?.complaints.splice(0)).toEqual([expect.stringContaining('403')]);
  });

  it('takes settings from a link only when it is told to', async () => {
    const { digits, url } = await start({ tune: true, unguarded: true });
    const page = await open(`${url}/batching#Digits.classify=8,2,eager&zoom=20`);
    await page.getByText('From the link: 8 · 2 ms · eager').waitFor();
    expect(await page.getByLabel('20 s').isChecked()).toBe(true);
    await sleep(500);
    expect(digits.queue.batchSize).toBe(32);
    await page.getByRole('button', { name: 'Apply' }).click();
    await until(() => digits.queue.batchSize === 8);
    expect(digits.queue.stats().options).toMatchObject({ maxDelay: 2, dispatch: 'eager' });
  });

  it('offers no knobs unless settings may be changed, nor for a queue of single calls', async () => {
    const readOnly = await openLive();
    expect(await readOnly.page.getByRole('spinbutton').count()).toBe(0);
    await readOnly.app.app.close();
    await traffic?.stop();
    const { url } = await start({ tune: true, unguarded: true });
    const page = await open(`${url}/batching`);
    await page.getByRole('form', { name: 'Settings of Digits.classify' }).waitFor();
    expect(await page.getByRole('form').count()).toBe(1);
  });

  it('comes up and keeps up over a slow network', async () => {
    const { digits, url } = await start();
    const each = await openPage(browser, `${url}/batching`);
    opened.push(each);
    const { page } = each;
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    // As of a phone with one bar: 400 ms, 160 kbit/s.
    const speed = { latency: 400, downloadThroughput: 20_000, uploadThroughput: 20_000 };
    await session.send('Network.emulateNetworkConditions', { offline: false, ...speed });
    await page.reload({ waitUntil: 'commit' });
    await page.getByText('live', { exact: true }).waitFor();
    await Promise.all(digits.submitMany([1, 2, 3]));
    await figure(page, 'Inputs/s', /3 ended/);
  });

  it('says when the server is gone, goes on when it is back, and counts nothing twice', async () => {
    const { app, page } = await openLive();
    const port = Number(new URL(app.url).port);
    await traffic?.stop();
    await app.app.close();
    await page.getByText('The connection to the server is lost').waitFor();
    await page.getByText('not connected').waitFor();
    expect(await faults(page)).toEqual([]);
    await page.emulateMedia({ forcedColors: 'active' });
    expect(await faults(page)).toEqual([]);
    await page.emulateMedia({ forcedColors: 'none' });
    const back = await start({}, { port });
    await page.getByText('live', { exact: true }).waitFor({ timeout: 30_000 });
    await page.getByText('The connection to the server is lost').waitFor({ state: 'hidden' });
    await Promise.all(back.digits.submitMany([1, 2, 3]));
    await figure(page, 'Inputs/s', /3 ended/);
    expect(await page.locator('.queue').count()).toBe(2);
  });

  it('blames nobody for an answer that is no stream, as a proxy gives without its server, and goes on after it', async () => {
    const { digits, url } = await start();
    const each = await openPage(browser, 'about:blank');
    opened.push(each);
    const { page, complaints } = each;
    await page.route('**/events', (route) => route.fulfill({ status: 502, body: 'Bad Gateway' }));
    await page.goto(`${url}/batching`);
    const notice = page.getByText(
      'The server does not show its queues now: it may be starting or stopping, have too many pages open, or want you to log in again.',
    );
    await notice.waitFor();
    expect(await faults(page)).toEqual([]);
    await page.unrouteAll({ behavior: 'wait' });
    await page.getByText('live', { exact: true }).waitFor();
    await notice.waitFor({ state: 'hidden' });
    await digits(1);
    await figure(page, 'Inputs/s', /1 ended/);
    expect(complaints.filter((complaint) => !complaint.includes('502 (Bad Gateway)'))).toEqual([]);
    complaints.splice(0);
  });

  it('shows two tabs the same, also after one was hidden', async () => {
    const { digits, url } = await start();
    const first = await open(`${url}/batching`);
    const second = await open(`${url}/batching`);
    const hide = (hidden: boolean) =>
      second.evaluate(`{
        Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }`);
    await Promise.all(digits.submitMany([1, 2]));
    await figure(second, 'Inputs/s', /2 ended/);
    await hide(true);
    await Promise.all(digits.submitMany([1, 2, 3]));
    await figure(first, 'Inputs/s', /5 ended/);
    await hide(false);
    await figure(second, 'Inputs/s', /5 ended/);
    const rows = async (page: Page) => {
      await page.evaluate("document.querySelector('details').open = true");
      const cells = page.locator('.data').first().locator('tbody tr td:nth-child(4)');
      await cells.first().waitFor();
      return cells.allTextContents();
    };
    expect(await rows(first)).toEqual(await rows(second));
    expect((await rows(first)).length).toBeLessThanOrEqual(2);
  });

  it('keeps up with thousands of batches a second', async () => {
    const { digits, url } = await start();
    digits.queue.batchSize = 1;
    digits.queue.concurrency = 256;
    const page = await open(`${url}/batching`);
    let on = true;
    const loop = async () => {
      while (on) await digits(1);
    };
    const loops = Array.from({ length: 256 }, loop);
    await figure(page, 'Batches/s', /^[\d,]{4,}/);
    // It goes on drawing.
    await page.evaluate(
      'new Promise((resolve) => { let n = 0; const next = () => (++n === 10 ? resolve() : requestAnimationFrame(next)); next(); })',
    );
    on = false;
    await Promise.all(loops);
  });

  it('gives its timeline to pages of the application, whose policy is strict', async () => {
    const policy = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:";
    const host = `<!doctype html><html lang="en"><title>Host</title>
      <link rel="icon" href="data:,"><main><h1>Host</h1>
      <batching-timeline queue="Digits.classify"></batching-timeline></main>
      <script type="module" src="/batching/timeline.js"></script>`;
    const app = await start(
      {},
      {
        prepare: (nest) =>
          nest.use('/host', (_: unknown, response: import('node:http').ServerResponse) => {
            response.setHeader('content-type', 'text/html');
            response.setHeader('content-security-policy', policy);
            response.end(host);
          }),
      },
    );
    traffic = new Traffic(app);
    const opening = await openPage(browser, `${app.url}/host`);
    opened.push(opening);
    const { page } = opening;
    const heard = page.evaluate<string>(`new Promise((resolve) =>
      document.querySelector('batching-timeline').addEventListener('frame', ({ detail }) => {
        if (detail.queue.figures.inputs > 0) resolve(detail.queue.name);
      }))`);
    expect(await heard).toBe('Digits.classify');
    const canvas = page.getByRole('application');
    expect(await canvas.getAttribute('aria-label')).toMatch(/^Timeline of the batches of Digits\.classify;/);
    const drawn = () =>
      page.evaluate<string>(
        "document.querySelector('batching-timeline').shadowRoot.querySelector('.timeline').toDataURL()",
      );
    await expect(changed(drawn, await drawn())).resolves.toBe(true);
    const pause = page.getByRole('button', { name: 'Pause' });
    // The picture is behind the server, so the first batch comes into it later than its figures.
    await until(async () => {
      await canvas.press('ArrowLeft');
      const told = await page.locator('.sentence').textContent();
      // The newest batch, which may be running.
      if (/^\d+ inputs?.*, waited .*, (ran|has run for) /.test(told ?? '')) return true;
      await pause.click();
      return false;
    });
    expect(await pause.getAttribute('aria-pressed')).toBe('true');
    expect(await faults(page)).toEqual([]);
    await page.evaluate("document.querySelector('batching-timeline').setAttribute('queue', 'Printer.print')");
    expect(await canvas.getAttribute('aria-label')).toMatch(/^Timeline of the batches of Printer\.print;/);
    expect(await pause.getAttribute('aria-pressed')).toBe('false');
    await page.evaluate("document.querySelector('batching-timeline').remove()");
  });

  it('shows in pages of the application whose inputs are in a batch', async () => {
    const host = `<!doctype html><html lang="en"><title>Host</title><link rel="icon" href="data:,"><main><h1>Host</h1>
      <batching-timeline queue="Digits.classify" unit="digit"></batching-timeline></main>
      <script>
        // Before the element is there.
        document.querySelector('batching-timeline').shares = {
          names: ['Ada', 'Bob'], of: (batch) => ({ 1: [5, 2], 2: [8] })[batch],
        };
      </script>
      <script type="module" src="/batching/timeline.js"></script>`;
    const time = Digits.time;
    Digits.time = { batch: 400, input: 0 };
    const { digits, url } = await start(
      {},
      {
        prepare: (app) =>
          app.use('/host', (_: unknown, response: import('node:http').ServerResponse) => {
            response.setHeader('content-type', 'text/html').end(host);
          }),
      },
    );
    const opening = await openPage(browser, `${url}/host`);
    const { page, complaints } = opening;
    opened.push(opening);
    const legend = page.getByRole('list', { name: 'Legend' });
    await legend.getByText('Bob').waitFor();
    expect(await legend.getByText('waiting digit').count()).toBe(1);
    try {
      await Promise.all(digits.submitMany([1, 2, 3, 4, 5, 6, 7, 8]));
    } finally {
      Digits.time = time;
    }
    // Both colours are in the picture. How much of each is no measure: what patterns leave of it changes as the picture moves.
    const colours = () => sharesDrawn(page);
    await until(async () => (await colours()).every((count) => count > 20));
    // Then patterns alone tell them apart.
    await page.emulateMedia({ forcedColors: 'active' });
    await until(async () => (await colours()).every((count) => count === 0));
    await page.emulateMedia({ forcedColors: 'none' });
    await page.getByRole('application').focus();
    await page.keyboard.press('End');
    await page.getByText(/^5 digits of Ada, 2 of Bob, 1 of others, .*, waited .*, ran /).waitFor();
    expect(await faults(page)).toEqual([]);

    // What throws is reported once, and not asked again.
    const set = (shares: string) =>
      page.evaluate(`document.querySelector('batching-timeline').shares = ${shares}; undefined`);
    await set("{ names: ['Ada'], of() { throw new Error('who knows'); } }");
    await legend.getByText('Ada').waitFor({ state: 'detached' });
    expect(complaints).toEqual(['who knows']);
    await expect(set('{ names: [] }')).rejects.toThrow(
      'shares: expected { names: string[], of: (batch, node)',
    );
    opened.at(-1)?.complaints.splice(0);
  });

  it('gives itself away as a picture', async () => {
    const { page } = await openLive();
    const download = page.waitForEvent('download');
    // Headless, without the permission for the clipboard, it saves a file.
    await page.evaluate('Object.defineProperty(navigator, "clipboard", { value: undefined })');
    await page.getByRole('button', { name: 'Copy as picture' }).click();
    const file = await (await download).path();
    const bytes = readFileSync(file);
    expect(bytes.subarray(1, 4).toString()).toBe('PNG');
    expect(bytes.readUInt32BE(16)).toBe(2400);
    await page.getByText('Saved as a file, batching.png.').waitFor();
  });

  it('works where the application has a strict policy of its own, and behind a proxy that strips a prefix', async () => {
    const { default: helmet } = await import('helmet');
    const { url } = await start({}, { prepare: (app) => app.use(helmet()) });
    const proxy = createServer((request, response) => {
      const path = request.url?.replace(/^\/prefix/, '') ?? '';
      const forwarded = proxied(
        url + path,
        { method: request.method, headers: request.headers },
        (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
        },
      );
      response.once('close', () => forwarded.destroy());
      request.pipe(forwarded);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = proxy.address() as AddressInfo;
    try {
      await open(`http://127.0.0.1:${port}/prefix/batching`);
      await open(`http://127.0.0.1:${port}/prefix/batching/`);
    } finally {
      for (const { page } of opened) await page.goto('about:blank');
      proxy.close();
    }
  });

  it('shows the same after it was loaded again', async () => {
    const { digits, url } = await start();
    const page = await open(`${url}/batching`);
    await Promise.all(digits.submitMany([1, 2, 3]));
    await figure(page, 'Inputs/s', /3 ended/);
    await page.reload();
    await figure(page, 'Inputs/s', /3 ended/);
  });

  /** Waits until a figure of the first queue has this value or note. */
  async function figure(page: Page, name: string, text: RegExp): Promise<string> {
    const group = page.locator('.queue').first().locator(`[data-name="${name}"] dd`);
    let found = '';
    await until(async () => {
      found = (await group.allTextContents()).join('');
      return text.test(found);
    });
    return found;
  }
});

/** Callers that ask again and again, some in vain. */
class Traffic {
  #on = true;
  readonly #loops: Promise<void>[];

  constructor({ digits }: DashboardApp) {
    this.#loops = Array.from({ length: 24 }, async (_, caller) => {
      while (this.#on) {
        await digits(caller === 0 ? -1 : caller).catch(() => undefined);
        await sleep(20 * Math.random());
      }
    });
  }

  async stop(): Promise<void> {
    this.#on = false;
    await Promise.all(this.#loops);
  }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`still not: ${String(condition)}`);
    await sleep(50);
  }
}

async function changed(read: () => Promise<string>, before: string): Promise<boolean> {
  await until(async () => (await read()) !== before);
  return true;
}
