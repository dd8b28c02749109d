import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { CONTEXT, cut, paste, type Picture, SCALE, TILE_SIDE, tilesOf } from './tiles.js';

const size = fc.record({
  width: fc.integer({ min: TILE_SIDE, max: 300 }),
  height: fc.integer({ min: TILE_SIDE, max: 300 }),
});

describe('tiles', () => {
  it('give the picture back when the network only repeats pixels, whatever its size', () => {
    fc.assert(
      fc.property(size, fc.integer(), (size, seed) => {
        const picture = noise(size, seed);
        const enlarged = {
          values: new Uint8Array(SCALE * SCALE * picture.values.length),
          width: SCALE * size.width,
          height: SCALE * size.height,
        };
        for (const tile of tilesOf(picture)) {
          paste(repeated({ values: cut(picture, tile), width: TILE_SIDE }), tile, enlarged);
        }
        expect(Buffer.compare(enlarged.values, Buffer.from(repeated(picture)))).toBe(0);
      }),
      { numRuns: 20 },
    );
  });

  it('lie within the picture, and keep nothing that its neighbours could have changed', () => {
    fc.assert(
      fc.property(size, (size) => {
        for (const { across, down } of tilesOf(size)) {
          for (const [{ start, from, to }, length] of [
            [across, size.width],
            [down, size.height],
          ] as const) {
            const end = start + TILE_SIDE;
            expect(start).toBeGreaterThanOrEqual(0);
            expect(end).toBeLessThanOrEqual(length);
            expect(from - start).toBeGreaterThanOrEqual(start === 0 ? 0 : CONTEXT);
            expect(end - to).toBeGreaterThanOrEqual(end === length ? 0 : CONTEXT);
          }
        }
      }),
    );
  });

  it.each([
    [84, 84, 1],
    [85, 84, 2],
    [148, 148, 4],
    [149, 148, 6],
    [1000, 1000, 256],
  ])('are as few as can be: %i×%i, %i tiles', (width, height, count) => {
    expect(tilesOf({ width, height })).toHaveLength(count);
  });
});

function noise({ width, height }: { width: number; height: number }, seed: number): Picture {
  return {
    values: Uint8Array.from({ length: 3 * width * height }, (_, i) => Math.imul(i + seed, 2654435761) >>> 24),
    width,
    height,
  };
}

/** Each pixel twice in both directions. */
function repeated({ values, width }: Omit<Picture, 'height'>): Uint8ClampedArray {
  const row = 6 * width;
  const enlarged = new Uint8ClampedArray(4 * values.length);
  for (let i = 0; i < enlarged.length; i++) {
    const [y, x] = [(i / row) >> 1, ((i % row) / 3) >> 1];
    enlarged[i] = values[3 * (y * width + x) + (i % 3)] ?? 0;
  }
  return enlarged;
}
