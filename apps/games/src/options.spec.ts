import { expect, it } from '@jest/globals';
import { HELP, readOptions, UsageError } from './options.js';

it('has a default for each option', () => {
  const defaults = { seed: 1, hidden: 64, backend: 'wasm', out: 'dist/games' };
  expect(readOptions([])).toEqual({ ...defaults, batchSize: undefined, metrics: undefined });
});

it('takes what the help names', () => {
  const args = ['--seed', '0', '--hidden', '8192', '--backend', 'auto', '--batch-size=1', '--out', 'there'];
  const expected = { seed: 0, hidden: 8192, backend: 'auto', batchSize: 1, out: 'there', metrics: 9100 };
  args.push('--metrics', '9100');
  expect(readOptions(args)).toEqual(expected);
  for (const arg of args.filter((text) => text.startsWith('--'))) expect(HELP).toContain(arg.split('=')[0]);
  expect(readOptions(['--help'])).toBeUndefined();
});

it.each([
  [['--seed', '-1'], /argument is ambiguous/],
  [['--seed=-1'], /^--seed: expected a whole number from 0 to 2147483647, got '-1'$/],
  [['--hidden', '0'], /^--hidden: expected a whole number from 1 to 8192, got '0'$/],
  [['--hidden', '8193'], /^--hidden: .* got '8193'$/],
  [['--hidden', '6e1'], /^--hidden: .* got '6e1'$/],
  [['--hidden', ''], /^--hidden: .* got ''$/],
  [['--batch-size', '0'], /^--batch-size: expected a whole number from 1 to 99, got '0'$/],
  [['--batch-size', '100'], /^--batch-size: .* got '100'$/],
  [['--metrics', '65536'], /^--metrics: expected a whole number from 0 to 65535, got '65536'$/],
  [['--backend', 'gpu'], /^--backend: expected one of tensorflow, webgpu, wasm, cpu, auto, got 'gpu'$/],
  [['--out', ''], /^--out: expected a folder, got an empty text$/],
  [['--sed', '1'], /^Unknown option '--sed'/],
  [['12'], /^Unexpected argument '12'/],
])('refuses %p', (args, message) => {
  expect(() => readOptions(args)).toThrow(UsageError);
  expect(() => readOptions(args)).toThrow(message);
});
