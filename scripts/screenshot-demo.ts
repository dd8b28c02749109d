/**
 * Takes the pictures of the demo for the README from a running server:
 * `tsx scripts/screenshot-demo.ts http://localhost:3000 docs/images`, of one scene with `--scene=dashboard`; those of the
 * writers, the microphones and the lookup from theirs:
 * `tsx scripts/screenshot-demo.ts http://localhost:3001 docs/images --scene=lookup`
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import sparticuz from '@sparticuz/chromium';
import { chromium, type Page } from 'playwright-core';
import sharp from 'sharp';

const [url = 'http://localhost:3000', folder = 'docs/images'] = process.argv.slice(2);
const views = [
  { name: 'light', colorScheme: 'light', viewport: { width: 1280, height: 800 }, hasTouch: false },
  { name: 'dark', colorScheme: 'dark', viewport: { width: 1280, height: 800 }, hasTouch: false },
  { name: 'phone', colorScheme: 'light', viewport: { width: 390, height: 844 }, hasTouch: true },
] as const;

await mkdir(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: await sparticuz.executablePath(),
  // In a single process the browser would end with its first page.
  args: sparticuz.args.filter((arg) => arg !== '--single-process'),
});
const scenes: {
  scene: string;
  path: string;
  play: (page: Page) => Promise<(() => Promise<unknown>) | undefined>;
  /** Of another application than the demo: taken if it is named. */
  isOther?: true;
  format?: 'webp';
}[] = [
  { scene: 'demo', path: '/', play: readDigits },
  { scene: 'photos', path: '/photos', play: enlargeTwo, format: 'webp' },
  // With TUNE=on, so that its knobs are there.
  { scene: 'dashboard', path: '/batching', play: watchCrowds },
  { scene: 'writers', path: '/', play: watchWriters, isOther: true },
  { scene: 'microphones', path: '/', play: hearCrowd, isOther: true },
  { scene: 'lookup', path: '/', play: lookMany, isOther: true, format: 'webp' },
];
const only = process.argv.find((argument) => argument.startsWith('--scene='))?.slice('--scene='.length);
for (const { scene, path, play, isOther = false, format = 'png' } of scenes) {
  if (only === undefined ? isOther : scene !== only) continue;
  for (const { name, ...options } of views) {
    const page = await browser.newPage({ ...options, deviceScaleFactor: 2 });
    await page.goto(new URL(path, url).href);
    const end = await play(page);
    await page.evaluate('scrollTo(0, 0)');
    const picture = sharp(await page.screenshot({ fullPage: process.argv.includes('--full') }));
    // Few colours, but where a photograph is shown.
    if (format === 'webp') await picture.webp().toFile(join(folder, `${scene}-${name}.webp`));
    else await picture.png({ palette: true }).toFile(join(folder, `${scene}-${name}.png`));
    await end?.();
    await page.close();
  }
}
await browser.close();

/** A crowd in the middle of its texts. */
async function watchWriters(page: Page): Promise<undefined> {
  await page.getByRole('button', { name: 'A crowd of 64' }).click();
  // The policy of the page lets no condition be evaluated in it again and again.
  while (((await page.locator('#wall .text').first().textContent()) ?? '').length < 60) await sleep(50);
}

/** A crowd of 200, and a recording that was heard to its end. */
async function hearCrowd(page: Page): Promise<undefined> {
  await page.getByRole('spinbutton').fill('200');
  await page.getByRole('button', { name: 'Start' }).click();
  await page.getByText('The crowd is heard').waitFor();
  await page.getByLabel('A file with sound').setInputFiles('apps/microphones/recording/reading.wav');
  await page.getByText('Heard to its end').waitFor({ timeout: 120_000 });
}

/** 2,000 members, found, and how many statements that took. */
async function lookMany(page: Page): Promise<undefined> {
  await page.getByRole('button', { name: 'Look up 2,000 at random' }).click();
  await page.getByText(/^2,000 requests, and [\d,]+ statements/).waitFor({ timeout: 60_000 });
  // The figures of the queues come twice a second.
  await page.waitForResponse('**/numbers');
  await sleep(100);
}

/** The race, finished, and a 7 that travels with others. */
async function readDigits(page: Page): Promise<() => Promise<unknown>> {
  await page.locator('#race-button').click();
  await page.locator('#race-ratio', { hasText: 'as fast' }).waitFor({ timeout: 60_000 });
  const stop = await sendDigits();
  await drawSeven(page);
  await sleep(2500);
  return stop;
}

async function drawSeven(page: Page): Promise<void> {
  await page.locator('#board').scrollIntoViewIfNeeded();
  const box = await page.locator('#board').boundingBox();
  if (!box) throw new Error(`${url} shows no paper to draw on`);
  const at = (x: number, y: number) => [box.x + x * box.width, box.y + y * box.height] as const;
  await page.mouse.move(...at(0.28, 0.24));
  await page.mouse.down();
  await page.mouse.move(...at(0.72, 0.22), { steps: 10 });
  await page.mouse.move(...at(0.45, 0.8), { steps: 12 });
  await page.mouse.up();
  await page.locator('#digit:not([data-empty])').waitFor();
}

/** Changes a setting, under load, until each has been measured. @returns ends the load */
async function watchCrowds(page: Page): Promise<() => Promise<unknown>> {
  const stop = await sendDigits();
  const size = page.getByLabel('Batch size', { exact: true }).first();
  await size.waitFor();
  for (const batchSize of ['4', '16', '64']) {
    await size.fill(batchSize);
    await size.press('Enter');
    await sleep(6000);
  }
  await size.blur();
  return stop;
}

/** Callers that send one digit after the other. @returns ends them */
async function sendDigits(): Promise<() => Promise<unknown>> {
  const answer = await fetch(new URL('/digits/samples?count=256', url));
  const images = ((await answer.json()) as { pixels: number[] }[]).map(({ pixels }) => pixels);
  let isOver = false;
  const post = (path: string, body: object) =>
    fetch(new URL(path, url), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  const callers = Array.from({ length: 40 }, async (_, caller) => {
    for (let call = caller; !isOver; call++) {
      await (await post('/digits', { pixels: images[call % images.length] })).arrayBuffer();
      await sleep(60 * Math.random());
    }
  });
  return () => {
    isOver = true;
    return Promise.all(callers);
  };
}

/** Two photos at once, whose last batches have just ended. */
async function enlargeTwo(page: Page): Promise<undefined> {
  await page.locator('#both').click();
  await page.locator('#download').waitFor({ timeout: 120_000 });
  await page.locator('#shared', { hasText: '12 batches' }).waitFor({ timeout: 120_000 });
  await sleep(250);
}
