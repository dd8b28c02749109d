import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { variableOf } from '@app/serving';
import { Configuration, readConfiguration } from './configuration.js';

describe('readConfiguration', () => {
  it('takes what is given', () => {
    const given = { PORT: '0', WORKERS: '2', MAX_PENDING: '4' };
    expect(readConfiguration(given)).toMatchObject({ port: 0, workers: 2, maxPending: 4, batchSize: 64 });
  });

  it('names everything that is wrong', () => {
    expect(() => readConfiguration({ WORKERS: 'all', MAX_MICROPHONES: '0' })).toThrow(
      "WORKERS: expected auto or an integer from 1 to 256, got 'all'\n" +
        'MAX_MICROPHONES: expected an integer from 1 to 100000, got 0',
    );
  });

  it('is documented, with its defaults', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    const rows = [...readme.matchAll(/^\| `([A-Z_]+)` +\| (?:`(.*?)`)? +\|/gm)].filter(
      ([, name]) => !name?.startsWith('ERR_'),
    );
    const defaults = Object.entries(new Configuration()).map(([name, preset]) => [
      variableOf(name),
      String(preset),
    ]);
    expect(rows.map(([, name, value]) => [name, value])).toEqual(defaults);
  });
});
