import { readFileSync } from 'node:fs';
import { sep } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { variableOf } from '@app/serving';
import { Configuration, readConfiguration } from './configuration.js';

describe('readConfiguration', () => {
  it('has a default for everything, also where a variable is empty', () => {
    const defaults = readConfiguration({});
    expect(defaults).toMatchObject({ port: 3001, databaseUrl: '', members: 100_000, batchSize: 256 });
    expect(readConfiguration({ PORT: '', DATABASE_URL: '', MEMBERS: '', DATA_FOLDER: '' })).toEqual(defaults);
  });

  it('takes what is given', () => {
    const given = {
      PORT: '0',
      HOST: '::',
      DATABASE_URL: 'postgres://a@b/c',
      DATA_FOLDER: '/x',
      MEMBERS: '7',
      BATCH_SIZE: '1',
      MAX_CONNECTIONS: '9',
      MAX_PIPELINED: '3',
      SHUTDOWN_TIMEOUT: '2000',
      SHUTDOWN_DELAY: '0',
      SLO_P99: '50',
    };
    expect(readConfiguration(given)).toEqual({
      port: 0,
      host: '::',
      databaseUrl: 'postgres://a@b/c',
      dataFolder: '/x',
      members: 7,
      batchSize: 1,
      maxConnections: 9,
      maxPipelined: 3,
      shutdownTimeout: 2000,
      shutdownDelay: 0,
      sloP99: 50,
    });
  });

  it.each([
    ['PORT', '65536', 'an integer from 0 to 65535, got 65536'],
    ['PORT', '-1', 'an integer from 0 to 65535, got "-1"'],
    [
      'DATABASE_URL',
      'mysql://x',
      'postgres://user:password@host:port/database, or nothing for SQLite, got "mysql://x"',
    ],
    ['MEMBERS', '0', 'an integer from 1 to 10000000, got 0'],
    ['HOST', 'a\ud800', 'well-formed Unicode, without half a surrogate pair, got "a\\ud800"'],
    ['DATA_FOLDER', '/tmp/\ufffd', 'a text in UTF-8, got "/tmp/\ufffd"'],
    ['BATCH_SIZE', '1.5', 'an integer from 1 to 10000, got "1.5"'],
  ])('refuses %s=%s', (name, value, expected) => {
    expect(() => readConfiguration({ [name]: value })).toThrow(`${name}: expected ${expected}`);
  });

  it('names everything that is wrong', () => {
    expect(() => readConfiguration({ PORT: 'x', MEMBERS: 'y' })).toThrow(/^PORT: .*\nMEMBERS: /);
  });

  it('is documented, with its defaults', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    const rows = [...readme.matchAll(/^\| `([A-Z_0-9]+)` +\| (?:`(.*?)`)? +\|/gm)].map(
      ([, name, value = '']) => [name, value],
    );
    const root = new URL('../../..', import.meta.url).pathname;
    const defaults = Object.entries(new Configuration()).map(([name, preset]) => [
      variableOf(name),
      String(preset).replace(root, '').replaceAll(sep, '/'),
    ]);
    expect(rows).toEqual(defaults);
  });
});
