import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { OutgoingHttpHeaders } from 'node:http';

/** The page, with its script and style inside, as `npm run build:package` makes it of `page/`. */
export class PageFile {
  readonly html = readFileSync(new URL('./page.html', import.meta.url));
  readonly headers: OutgoingHttpHeaders;

  constructor() {
    const html = this.html.toString();
    const hashOf = (tag: string) => {
      const text = new RegExp(`<${tag}[^>]*>(.*?)</${tag}>`, 's').exec(html)?.[1] ?? '';
      return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
    };
    // In place of the application's own policy, which may forbid what stands inside a page. This one allows nothing else.
    const policy = [
      "default-src 'none'",
      `script-src ${hashOf('script')}`,
      `style-src ${hashOf('style')}`,
      "connect-src 'self'",
      'img-src data: blob:',
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'self'",
    ];
    this.headers = {
      'content-type': 'text/html; charset=utf-8',
      'content-length': this.html.length,
      'content-security-policy': policy.join('; '),
      'cache-control': 'no-cache',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    };
  }
}

/** The module of the element `<batching-timeline>`, which `npm run build:package` makes as well. */
export class TimelineFile {
  readonly script = readFileSync(new URL('./timeline.js', import.meta.url));
  readonly headers: OutgoingHttpHeaders = {
    'content-type': 'text/javascript; charset=utf-8',
    'content-length': this.script.length,
    'cache-control': 'no-cache',
    'x-content-type-options': 'nosniff',
  };
}
