import { describe, expect, it } from '@jest/globals';
import { checkCounts, soak } from '../../../../bench/soak.js';

describe('200,000 inputs with mixed outcomes', () => {
  it('leave nothing behind, and every one is accounted for (`npm run bench soak`: ten million)', async () => {
    const soaked = await soak(200_000, () => undefined);

    checkCounts(200_000, soaked);
    const [first = NaN] = soaked.heap;
    // What is kept for each input, in bytes: an entry alone would be a hundred.
    expect((Math.max(...soaked.heap) - first) / 180_000).toBeLessThan(8);
  }, 60_000);
});
