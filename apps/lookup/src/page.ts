import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { appFolder } from './app-folder.js';

export const pageFolder = join(appFolder, 'public');

/** What a Content-Security-Policy allows of the page's own script or style, which stands in it. */
export function inlineHashes(tag: 'script' | 'style'): string[] {
  const html = readFileSync(join(pageFolder, 'index.html'), 'utf8');
  const elements = html.matchAll(new RegExp(`<${tag}[^>]*>(.*?)</${tag}>`, 'gs'));
  return Array.from(
    elements,
    ([, text = '']) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`,
  );
}
