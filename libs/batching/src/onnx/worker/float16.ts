/** For each of the 65,536 half-precision numbers, by its bits, its value. */
const values = Float32Array.from({ length: 2 ** 16 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
});

/** @param halves the bits of half-precision numbers */
export function fromFloat16(halves: Uint16Array): Float32Array {
  return Float32Array.from(halves, (bits) => Number(values[bits]));
}

/**
 * Rounds to the nearest half-precision number, ties to even; numbers that round beyond 65,504 become
 * infinite.
 *
 * @returns their bits
 */
export function toFloat16(numbers: Float32Array): Uint16Array {
  return Uint16Array.from(new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length), halfOf);
}

/** @param bits those of a float32: sign, 8 bits of exponent, 23 of fraction */
function halfOf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 127;
  const fraction = bits & 0x7fffff;
  if (exponent === 128) return sign | (fraction ? 0x7e00 : 0x7c00);
  if (exponent > 15) return sign | 0x7c00;
  // Below 2^-14 the steps are of 2^-24: the leading 1 becomes explicit, and more of the fraction is cut off.
  const subnormal = exponent < -14;
  if (exponent < -25) return sign;
  const whole = subnormal ? fraction | 0x800000 : ((exponent + 15) << 23) | fraction;
  const cut = subnormal ? -1 - exponent : 13;
  const half = whole >>> cut;
  const rest = whole & (2 ** cut - 1);
  const middle = 2 ** (cut - 1);
  // Rounding up may carry into the exponent, which is right, also into infinity.
  return sign | (half + (rest > middle || (rest === middle && half & 1) ? 1 : 0));
}
