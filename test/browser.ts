import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import sparticuz from '@sparticuz/chromium';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

/** Where there is a Chromium: the one of the package runs on Linux x64 only. Says loudly when there is none. */
export async function findChromium(): Promise<string | undefined> {
  const path = await chromiumPath();
  if (!path) {
    process.stderr.write(
      '\n*** SKIPPED: the page is not tested, as no Chromium was found. The one of @sparticuz/chromium is for Linux x64;\n' +
        '*** elsewhere install Chromium as /usr/bin/chromium, or set CHROMIUM to its path.\n\n',
    );
  }
  return path;
}

async function chromiumPath(): Promise<string | undefined> {
  const { CHROMIUM } = process.env;
  if (CHROMIUM) return CHROMIUM;
  if (process.platform === 'linux' && process.arch === 'x64') return sparticuz.executablePath();
  return ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
}

/** @param more further switches of Chromium */
export function launch(executablePath: string | undefined, more: readonly string[] = []): Promise<Browser> {
  // A single process would end with its first page, and without web security the policies of the page went unnoticed.
  const unwanted = ['--single-process', '--disable-web-security'];
  const args = sparticuz.args.filter((arg) => !unwanted.includes(arg));
  return chromium.launch({ executablePath, args: [...args, ...more] });
}

/** Opens a page. `complaints` is what the browser complains about, from then on. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(url);
  return { page, complaints };
}

/** Opens a page of the demo, and waits until it is connected to the live view. */
export async function openDemo(
  ...opened: Parameters<typeof openPage>
): Promise<{ page: Page; complaints: string[] }> {
  const { page, complaints } = await openPage(...opened);
  await page.getByText('live', { exact: true }).waitFor();
  return { page, complaints };
}

/** Pixels on the timeline of a page of its own in the colours of the first two shares. */
export function sharesDrawn(page: Page): Promise<[first: number, second: number]> {
  return page.evaluate(`{
    const element = document.querySelector('batching-timeline');
    const canvas = element.shadowRoot.querySelector('.timeline');
    const pen = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    ['--share-1', '--share-2'].map((name) => {
      pen.fillStyle = getComputedStyle(element).getPropertyValue(name);
      pen.fillRect(0, 0, 1, 1);
      const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
      let count = 0;
      for (let i = 0; i < data.length; i += 4) {
        if (data[i] === red && data[i + 1] === green && data[i + 2] === blue) count++;
      }
      return count;
    });
  }`);
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe finds, as rule and element. Its code is evaluated by the debugger, past the page's policy. */
export async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const found = await page.evaluate<{ violations: { id: string; nodes: { html: string }[] }[] }>('axe.run()');
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}
