import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';

const root = fileURLToPath(new URL('../../../..', import.meta.url));

describe('200,000 inputs with mixed outcomes', () => {
  it('leave no memory behind, and each is counted once (`npm run bench soak`: ten million)', async () => {
    // In a process of its own: the heap of this one is also Jest's.
    const program = `
      import { checkCounts, soak } from './bench/soak.js';
      const soaked = await soak(200_000, () => undefined);
      checkCounts(200_000, soaked);
      console.log(JSON.stringify(soaked.heap));`;
    const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });

    const heap = JSON.parse(stdout) as number[];
    const [first = NaN] = heap;
    // Bytes kept per input: one entry alone would be a hundred.
    expect((Math.max(...heap) - first) / 180_000).toBeLessThan(8);
  }, 60_000);
});
