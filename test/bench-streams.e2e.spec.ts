import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from '@jest/globals';

/** Its figures say nothing on a machine that runs tests; but all contenders must give the same texts, and the same probabilities. */
it('npm run bench streams microphones quick runs to its end', async () => {
  const root = join(import.meta.dirname, '..');
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      join(root, 'node_modules/tsx/dist/cli.mjs'),
      '--tsconfig',
      'bench/tsconfig.run.json',
      'bench/bench.ts',
      ...['streams', 'microphones', 'quick'],
    ],
    // Jest's own flags are not for it.
    { cwd: root, env: { ...process.env, NODE_OPTIONS: '' }, timeout: 170_000 },
  );
  expect(stdout).toMatch(/^streams +continuous +one by one +static +limit/m);
  expect(stdout).toMatch(/^batched \/ one by one/m);
  expect(stdout).toMatch(/^a large state/m);
}, 180_000);
