import { describe, expect, it } from '@jest/globals';
import { readOptions, UsageError } from './options.js';

describe('The command line of the cluster', () => {
  it('has defaults', () => {
    expect(readOptions([])).toEqual({ transport: undefined, url: undefined, seconds: 20, kills: 4 });
  });

  it.each([
    ['redis://127.0.0.1:6379', 'redis'],
    ['rediss://user:secret@cache:6380', 'redis'],
    ['nats://127.0.0.1:4222', 'nats'],
    ['tls://nats:4222', 'nats'],
  ])('knows by %s that it is %s', (url, transport) => {
    expect(readOptions(['--url', url])).toMatchObject({ url, transport });
  });

  it('gives nothing for --help', () => {
    expect(readOptions(['--help'])).toBeUndefined();
  });

  it.each([
    [['--transport', 'kafka'], "--transport: expected redis or nats, got 'kafka'"],
    [['--seconds', '0'], "--seconds: expected a whole number from 1 to 3600, got '0'"],
    [['--kills', '-1'], "Option '--kills' argument is ambiguous"],
    [['--kills', '1.5'], "--kills: expected a whole number from 0 to 1000, got '1.5'"],
    [
      ['--url', 'cache:6379'],
      '--url: expected redis://… or rediss://… or nats://… or tls://…, got cache://…',
    ],
    [['--url', ''], 'got something else'],
    [
      ['--transport', 'nats', '--url', 'redis://:secret@cache'],
      '--url: expected nats://… or tls://…, got redis://…',
    ],
    [['--unknown'], 'npm run cluster -- [options]'],
  ])('refuses %j with what was expected', (args, sentence) => {
    let thrown: unknown;
    try {
      readOptions(args);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(UsageError);
    expect((thrown as Error).message).toContain(sentence);
    expect((thrown as Error).message).not.toContain('secret');
  });
});
