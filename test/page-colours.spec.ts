import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';

/**
 * What each page is made of, with the names that its scripts put together. A name that no style sheet defines is invisible
 * elsewhere: CSS drops the declaration, a canvas keeps the colour before, and axe looks at neither.
 */
const HOUSE = 'libs/serving/public/house';
const DASHBOARD = 'libs/batching/src/dashboard/page';
const REASONS = ['size', 'delay', 'idle', 'drain'];
const PAGES: Record<string, { folders: string[]; computed?: string[] }> = {
  demo: { folders: ['apps/demo-api/public'], computed: [...REASONS, 'photo-1', 'photo-2', 'accent', 'cell'] },
  games: { folders: ['apps/games/src'] },
  lookup: { folders: ['apps/lookup/public', HOUSE] },
  microphones: { folders: ['apps/microphones/public', HOUSE] },
  writers: { folders: ['apps/writers/public', HOUSE] },
  reference: { folders: ['libs/serving/public/reference', HOUSE] },
  dashboard: { folders: [DASHBOARD], computed: REASONS.flatMap((reason) => [reason, `on-${reason}`]) },
};

describe('CSS variables of a page', () => {
  it.each(Object.entries(PAGES))('%s: each one that is used is defined', (_, { folders, computed = [] }) => {
    const text = folders.flatMap(readPage).join('\n');
    const used = [
      ...[...text.matchAll(/var\(\s*--([\w-]+)\s*\)/g)].map(([, name]) => name),
      ...[...text.matchAll(/getPropertyValue\(\s*['"`]--([\w-]+)['"`]/g)].map(([, name]) => name),
      ...[...text.matchAll(/\b(?:colour|of)\(\s*['"`]([\w-]+)['"`]\)/g)].map(([, name]) => name),
      ...computed,
    ];
    expect(used).not.toEqual([]);
    const defined = new Set([...text.matchAll(/--([\w-]+)(?:\s*:|['"]\s*,)/g)].map(([, name]) => name));
    expect([...new Set(used)].filter((name) => !defined.has(name))).toEqual([]);
  });
});

function readPage(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => /\.(css|html|js)$|^(element|theme)\.ts$/.test(name))
    .map((name) => readFileSync(`${folder}/${name}`, 'utf8'));
}
