import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { faults, findChromium, launch, openPage } from './browser.js';
import { kinds, newDatabase, startLookup, type TestDatabase } from './lookup.js';

const executablePath = await findChromium();
const kind = kinds.find(({ isHere }) => isHere)?.kind;

(executablePath && kind ? describe : describe.skip)('The page of the lookup in headless Chromium', () => {
  let browser: Browser;
  let database: TestDatabase;
  let app: INestApplication;
  let url: string;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    database = await newDatabase(kind ?? 'SQLite');
    // As many as the page takes its random numbers from.
    ({ app, url } = await startLookup({ ...database.environment, MEMBERS: '100000' }));
    browser = await launch(executablePath);
  });
  afterAll(async () => {
    await browser.close();
    await app.close();
    await database.remove();
  });
  beforeEach(async () => {
    ({ page, complaints } = await openPage(browser, url, { viewport: { width: 390, height: 844 } }));
  });
  afterEach(() => page.context().close());

  const find = async (id: string) => {
    await page.getByLabel('Number').fill(id);
    await page.getByRole('button', { name: 'Look up', exact: true }).click();
  };

  it('finds a member, says which id is not there, and counts', async () => {
    await find('4711');
    await page.getByText('4711: Tomas Lefevre, tomas.lefevre.4711@example.org, of Linz').waitFor();
    expect(complaints).toEqual([]);
    await find('200000');
    await page.getByText('There is no member 200000.').waitFor();
    const figures = page.locator('article', { hasText: 'MemberDirectory.findById' });
    await figures.locator('dd').getByText('2', { exact: true }).first().waitFor();
    expect(await figures.locator('dt').allTextContents()).toEqual([
      ...['Requests', 'Batches', 'Mean batch', 'Saved'],
    ]);
  });

  it('adds a member once, and says whose address it is when asked again', async () => {
    for (const [label, value] of Object.entries({
      Name: 'Ada Young',
      'E-mail': 'Ada@example.org',
      City: 'Bern',
    })) {
      await page.getByLabel(label).fill(value);
    }
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByText('100001: Ada Young, ada@example.org, of Bern, born in 1990').waitFor();
    expect(complaints).toEqual([]);
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByText('ada@example.org belongs to another member.').waitFor();
  });

  it('sends a crowd, some of whose requests meet', async () => {
    await page.getByRole('button', { name: 'Look up 2,000 at random' }).click();
    await page.getByText(/^2,000 requests, and [\d,]+ statements, in \d+ ms$/).waitFor({ timeout: 50_000 });
    expect(await page.locator('#race dd').allTextContents()).toEqual([
      '2,000',
      '0',
      expect.stringMatching(/^[1-9]/),
    ]);
    await page.getByText(/^SELECT \* FROM .* -- for \d+ requests?$/).waitFor();
    expect(await faults(page)).toEqual([]);
    const numbers = await (await fetch(`${url}/numbers`)).json();
    const { queues, sql } = numbers as { queues: { saved: number }[]; sql: string };
    expect(queues[0]?.saved).toBeGreaterThan(0);
    expect(complaints).toEqual([]);

    const readme = await readFile(join(import.meta.dirname, '../apps/lookup/README.md'), 'utf8');
    const labels = await page.locator('#race dt').allTextContents();
    const named = [...labels.map((label) => `_${label}_`), ...(kind === 'SQLite' ? [`${sql} -- for`] : [])];
    expect(named.filter((words) => !readme.includes(words))).toEqual([]);
  });

  it('counts failures as failures', async () => {
    await page.route(/members\/\d*[05]$/, (route) => route.abort());
    await page.getByRole('button', { name: 'Look up 2,000 at random' }).click();
    await page.getByText(/^2,000 requests, \d+ of which failed, and/).waitFor({ timeout: 50_000 });
    const [answers = '', failures = ''] = await page.locator('#race dd').allTextContents();
    expect(Number(answers.replace(',', '')) + Number(failures.replace(',', ''))).toBe(2000);
    expect(Number(failures)).toBeGreaterThan(100);
  });

  it('asks for members that are there', async () => {
    await page.route('**/numbers', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ json: { ...((await response.json()) as object), members: 7 } });
    });
    const asked = new Set<number>();
    page.on('request', (request) => {
      const [, id] = /members\/(\d+)$/.exec(request.url()) ?? [];
      if (id) asked.add(Number(id));
    });
    await page.getByRole('button', { name: 'Look up 2,000 at random' }).click();
    await page.getByText(/^2,000 requests, and/).waitFor();
    expect([...asked].sort()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect((await (await fetch(`${url}/numbers`)).json()) as object).toMatchObject({ members: 100_000 });
    await page.unrouteAll({ behavior: 'wait' });
  });

  it('says when the server is gone, leaves it alone, and goes on by itself when it is back', async () => {
    await page.locator('article').first().waitFor();
    let requests = 0;
    page.on('request', () => requests++);
    await page.context().setOffline(true);
    const gone = page.locator('#connection').getByText('The server cannot be reached');
    await gone.waitFor();
    const before = requests;
    await page.getByRole('button', { name: 'Look up 2,000 at random' }).click();
    await page.locator('#found').getByText('The server cannot be reached. Is it still running?').waitFor();
    // One of the crowd and one at its end; the page itself asks less and less often.
    await page.waitForTimeout(1000);
    expect(requests - before).toBeLessThan(6);
    await page.context().setOffline(false);
    await gone.waitFor({ state: 'hidden' });
    await find('4711');
    await page.getByText('4711: Tomas Lefevre').waitFor();
  });

  it('says when its server has stopped, and goes on by itself with the next one on its port', async () => {
    const place = await database.another();
    const first = await startLookup(place.environment);
    await page.goto(first.url);
    await page.locator('article').first().waitFor();
    await first.app.close();
    const gone = page.locator('#connection').getByText('The server cannot be reached');
    await gone.waitFor();
    await find('7');
    await page.locator('#found').getByText('No answer').waitFor();
    expect(await faults(page)).toEqual([]);
    const next = await startLookup(place.environment, Number(new URL(first.url).port));
    await gone.waitFor({ state: 'hidden' });
    await find('7');
    await page.locator('#found').getByText(/^7: /).waitFor();
    await page.goto('about:blank');
    await next.app.close();
    await place.remove();
  });

  it('is used with the keyboard alone', async () => {
    const tab = async () => {
      await page.keyboard.press('Tab');
      expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid');
      return page.evaluate<string>('document.activeElement.name || document.activeElement.innerText');
    };
    expect(await tab()).toBe('id');
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.type('12');
    await page.keyboard.press('Enter');
    await page.getByText(/^12: /).waitFor();
    expect(await tab()).toBe('Look up');
    expect(await tab()).toBe('Look up 2,000 at random');
    for (const [name, words] of Object.entries({ name: 'Bo Lind', email: 'bo@example.org', city: 'Oslo' })) {
      expect(await tab()).toBe(name);
      await page.keyboard.type(words);
    }
    expect(await tab()).toBe('born');
    expect(await tab()).toBe('Add');
    await page.keyboard.press('Enter');
    await page.getByText(/^\d+: Bo Lind, bo@example\.org, of Oslo, born in 1990/).waitFor();
    expect(complaints).toEqual([]);
  });

  it('comes up and answers over a slow network', async () => {
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    // As of a phone with one bar: 400 ms, 160 kbit/s.
    const speed = { latency: 400, downloadThroughput: 20_000, uploadThroughput: 20_000 };
    await session.send('Network.emulateNetworkConditions', { offline: false, ...speed });
    await page.reload({ waitUntil: 'commit' });
    await page.locator('article').first().waitFor();
    await find('4711');
    await page.getByText('4711: Tomas Lefevre').waitFor();
    expect(complaints).toEqual([]);
  });

  it('shows two tabs the same, also after it was loaded again', async () => {
    const other = await page.context().newPage();
    await other.goto(url);
    await find('4711');
    await page.getByText('4711: Tomas Lefevre').waitFor();
    const { queues } = (await (await fetch(`${url}/numbers`)).json()) as { queues: { requests: number }[] };
    const requests = (queues[0]?.requests ?? NaN).toLocaleString('en');
    const shows = (tab: Page) =>
      tab
        .locator('article', { hasText: 'MemberDirectory.findById' })
        .locator('dd')
        .first()
        .getByText(requests, { exact: true })
        .waitFor();
    await Promise.all([shows(page), shows(other)]);
    const numbers = await other.locator('#numbers').innerText();
    await other.reload();
    await shows(other);
    expect(await other.locator('#numbers').innerText()).toBe(numbers);
    expect(await other.locator('#found').innerText()).toBe('');
  });

  it.each<[string, BrowserContextOptions]>([
    ['dark', { colorScheme: 'dark' }],
    ['with forced colours', { forcedColors: 'active' }],
    ['on a phone', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
  ])('has no fault that axe finds, %s', async (_, options) => {
    await page.context().close();
    ({ page, complaints } = await openPage(browser, url, options));
    await page.locator('article').first().waitFor();
    await find('4711');
    await page.getByText('4711: Tomas Lefevre').waitFor();
    expect(await faults(page)).toEqual([]);
    expect(complaints).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
  });

  it('is no wider than a phone', async () => {
    await page.locator('article').first().waitFor();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
  });
});
