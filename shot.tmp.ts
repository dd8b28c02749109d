import sparticuz from '@sparticuz/chromium';
import { chromium } from 'playwright-core';
const out='/tmp/h-photos-tmp/';
const browser = await chromium.launch({ executablePath: await sparticuz.executablePath(), args: sparticuz.args.filter((a) => a !== '--single-process') });
const views = [
  { name: 'p-light', colorScheme: 'light', viewport: { width: 1280, height: 900 } },
  { name: 'p-dark', colorScheme: 'dark', viewport: { width: 1280, height: 900 } },
  { name: 'p-phone', colorScheme: 'light', viewport: { width: 360, height: 780 }, hasTouch: true, isMobile: true },
] as const;
for (const { name, ...o } of views) {
  const page = await browser.newPage({ ...o, deviceScaleFactor: 1 });
  page.on('console', (m) => console.log(name, m.type(), m.text()));
  page.on('pageerror', (e) => console.log(name, 'ERR', e.message));
  await page.goto('http://localhost:3457/photos');
  await page.getByText('live', { exact: true }).waitFor();
  await page.screenshot({ path: out + name + '-0.png', fullPage: true });
  if (name==='p-phone') { await page.goto('http://localhost:3457/'); await page.screenshot({path: out+'d-phone.png'}); console.log('digits width', await page.evaluate('document.documentElement.scrollWidth')); await page.goto('http://localhost:3457/photos'); }
  if (name==='p-dark') { await page.locator('#file').setInputFiles('/tmp/h-photos-tmp/package/img-allium-oreophilum/data/image.jpg'); await page.waitForTimeout(1500); await page.screenshot({path: out+'p-dark-c.png'}); await page.locator('#file').setInputFiles('/tmp/h-photos-tmp/big.jpg'); await page.locator('#smaller').waitFor(); await page.screenshot({path: out+'p-dark-e.png'}); await page.locator('#smaller').click(); } else
  await page.locator('#sample').click();
  await page.getByText(/left$/).waitFor({ timeout: 60000 });
  await page.screenshot({ path: out + name + '-1.png', fullPage: true });
  await page.locator('#download').waitFor({ timeout: 120000 });
  await page.screenshot({ path: out + name + '-2.png', fullPage: true });
  console.log(name, await page.locator('#photo-status').textContent(), await page.evaluate('document.documentElement.scrollWidth'));
  await page.close();
}
await browser.close();
