import { describe, expect, it } from '@jest/globals';
import { MessagePool } from './message-pool.js';

const MIB = 2 ** 20;

describe('MessagePool', () => {
  it('gives memory of the same length again, to one taker at a time', () => {
    const pool = new MessagePool();
    const [first, second] = [pool.take(8_192), pool.take(8_192)];
    expect(second).not.toBe(first);
    pool.give(first);
    expect(pool.take(8_191)).not.toBe(first);
    expect(pool.take(8_192)).toBe(first);
    expect(pool.take(8_192)).not.toBe(first);
  });

  it('leaves small messages to Node', () => {
    const pool = new MessagePool();
    const small = pool.take(100);
    pool.give(small);
    expect(pool.take(100)).not.toBe(small);
  });

  it('keeps 4 MiB, and lets go of lengths that are not used any more', () => {
    const pool = new MessagePool();
    const old = Array.from({ length: 4 }, () => pool.take(MIB));
    for (const message of old) pool.give(message);
    const larger = pool.take(3 * MIB);
    pool.give(larger);
    expect(old).not.toContain(pool.take(MIB));
    expect(pool.take(3 * MIB)).toBe(larger);
    const tooLarge = pool.take(5 * MIB);
    pool.give(tooLarge);
    expect(pool.take(5 * MIB)).not.toBe(tooLarge);
  });
});
