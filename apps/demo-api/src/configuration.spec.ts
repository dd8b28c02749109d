import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { variableOf } from '@app/serving';
import { Configuration, readConfiguration } from './configuration.js';

describe('Configuration', () => {
  it('has a default for everything, also where a variable is empty', () => {
    const defaults = readConfiguration({});
    expect(defaults).toMatchObject({
      port: 3000,
      httpAdapter: 'express',
      batchSize: 64,
      maxDelay: 5,
      dispatch: 'adaptive',
      backend: 'auto',
    });
    expect(readConfiguration({ PORT: '', BACKEND: '', MAX_DELAY: '' })).toEqual(defaults);
  });

  it('takes what is given', () => {
    const given = {
      PORT: '0',
      MAX_DELAY: '0.5',
      DISPATCH: 'eager',
      BATCH_SIZE: '7',
      LOG_LEVEL: 'warn',
      HTTP_ADAPTER: 'fastify',
    };
    expect(readConfiguration(given)).toMatchObject({
      port: 0,
      maxDelay: 0.5,
      dispatch: 'eager',
      batchSize: 7,
      logLevels: ['warn', 'error', 'fatal'],
      httpAdapter: 'fastify',
    });
  });

  it.each([
    ['PORT', '65536', 'an integer from 0 to 65535, got 65536'],
    ['PORT', '80.5', 'an integer from 0 to 65535'],
    ['HOST', 'a\ud800', "a text in UTF-8, got 'a\ud800'"],
    ['HTTP_ADAPTER', 'koa', "one of express, fastify, got 'koa'"],
    ['WORKERS', '0', 'auto or an integer from 1 to 256, got 0'],
    ['WORKERS', 'all', "auto or an integer from 1 to 256, got 'all'"],
    ['HEARTBEAT', '0', 'an integer from 100 to 3600000, got 0'],
    ['BATCH_SIZE', 'many', "an integer from 1 to 4096, got 'many'"],
    ['MAX_DELAY', 'NaN', "a number from 0 to 60000, got 'NaN'"],
    ['DISPATCH', 'lazy', "one of adaptive, eager, fixed, got 'lazy'"],
    ['MAX_QUEUED', '-1', 'an integer from 0 to 1000000, got -1'],
    ['TIMEOUT', '-1', 'an integer from 0 to 3600000, got -1'],
    ['LOG_LEVEL', 'info', "one of verbose, debug, log, warn, error, fatal, got 'info'"],
    ['SHUTDOWN_TIMEOUT', 'Infinity', 'an integer from 0 to 3600000'],
  ])('refuses %s=%s', (name, value, expected) => {
    expect(() => readConfiguration({ [name]: value })).toThrow(`${name}: expected ${expected}`);
  });

  it('is documented, with its defaults', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    const rows = [...readme.matchAll(/^\| `([A-Z_0-9]+)` +\| `(.*?)` +\|/gm)].map(([, name, value]) => [
      name,
      value,
    ]);
    const variables = Object.entries(new Configuration());
    expect(rows).toEqual(variables.map(([name, preset]) => [variableOf(name), String(preset)]));
  });
});
