import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Controller, Get, Header } from '@nestjs/common';
import { BatchingRegistry } from 'nest-batching';
import { appFolder } from './app-folder.js';
import { MemberDatabase } from './members/member-database.js';

const html = readFileSync(join(appFolder, 'public', 'index.html'), 'utf8');

/** What a Content-Security-Policy allows of the page's own script or style, which stands in it. */
export function inlineHashes(tag: 'script' | 'style'): string[] {
  const elements = html.matchAll(new RegExp(`<${tag}[^>]*>(.*?)</${tag}>`, 'gs'));
  return Array.from(
    elements,
    ([, text = '']) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`,
  );
}

/** What one queue has done since the start. */
interface Numbers {
  queue: string;
  /** Inputs that ran. */
  requests: number;
  /** One batch is one SELECT, or one transaction. */
  batches: number;
  meanBatch: number;
  /** How many SELECTs or transactions there would have been more, without batches. */
  saved: number;
}

/** A page for people, and the numbers on it. */
@Controller()
export class PageController {
  constructor(
    private readonly database: MemberDatabase,
    private readonly registry: BatchingRegistry,
  ) {}

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  page(): string {
    return html;
  }

  @Get('numbers')
  numbers(): { database: string; queues: Numbers[] } {
    const queues = this.registry.stats().map(({ name, settled, batches }) => ({
      queue: name,
      requests: settled,
      batches,
      meanBatch: batches === 0 ? 0 : Number((settled / batches).toFixed(1)),
      saved: settled - batches,
    }));
    return { database: this.database.name, queues };
  }
}
