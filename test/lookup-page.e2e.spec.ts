import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import type { Browser, Page } from 'playwright-core';
import { findChromium, launch, openPage } from './browser.js';
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

  it('is no wider than a phone', async () => {
    await page.locator('article').first().waitFor();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
  });
});
