import { describe, expect, it } from '@jest/globals';
import { fromFloat16, toFloat16 } from './float16.js';

const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);

describe('half-precision numbers', () => {
  it('have the values of IEEE 754', () => {
    const known = { 0x0000: 0, 0x0001: 2 ** -24, 0x0400: 2 ** -14, 0x3555: 0.333251953125, 0x3c00: 1 };
    const others = { 0x7bff: 65504, 0x7c00: Infinity, 0x8000: -0, 0xc000: -2, 0xfc00: -Infinity };
    for (const [bits, value] of Object.entries({ ...known, ...others })) {
      expect(fromFloat16(Uint16Array.of(Number(bits)))).toEqual(Float32Array.of(value));
    }
    expect(fromFloat16(Uint16Array.of(0x7e00))).toEqual(Float32Array.of(NaN));
  });

  it('are the same after a conversion to float32 and back', () => {
    const numbers = fromFloat16(all);
    const back = toFloat16(numbers);
    const differing = all.filter((bits, i) => bits !== back[i] && !Number.isNaN(numbers[i]));
    expect([...differing]).toEqual([]);
    expect(fromFloat16(toFloat16(Float32Array.of(NaN)))).toEqual(Float32Array.of(NaN));
  });

  it('are the nearest to each float32, with ties to even', () => {
    const finite = fromFloat16(all.slice(0, 0x7c00));
    for (let i = 0; i + 1 < finite.length; i++) {
      const [low, high] = [Number(finite[i]), Number(finite[i + 1])];
      const middle = (low + high) / 2;
      const tiny = (high - low) / 64;
      const found = toFloat16(Float32Array.of(middle - tiny, middle, middle + tiny, -middle));
      const even = i % 2 === 0 ? i : i + 1;
      expect([...found]).toEqual([i, even, i + 1, 0x8000 + even]);
    }
  });

  it('are infinite for what rounds beyond 65,504, and 0 for what is below half of the smallest', () => {
    const numbers = Float32Array.of(65_519, 65_520, 1e10, -1e10, 2 ** -25, 2 ** -25 * 1.01, 1e-30, -1e-45);
    expect([...fromFloat16(toFloat16(numbers))]).toEqual([
      65_504,
      Infinity,
      Infinity,
      -Infinity,
      0,
      2 ** -24,
      0,
      -0,
    ]);
  });
});
