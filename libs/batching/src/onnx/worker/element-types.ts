import type { TensorValues } from '../../inference/protocol/batch-layout.js';
import type { TensorDescription } from '../../inference/protocol/model-description.js';
import { fromFloat16, toFloat16 } from './float16.js';

/** Element types of ONNX that are converted from and to the types of a batch. */
export interface ElementType {
  readonly dtype: TensorDescription['dtype'];
  /** @returns the numbers in memory of this thread: the addon refuses shared memory. They may be the values themselves. */
  encode(values: TensorValues): OnnxData;
  decode(data: OnnxData): TensorValues;
}

export type OnnxData =
  TensorValues | Float64Array | Uint16Array | BigInt64Array | BigUint64Array | SmallInteger;

type SmallInteger = Int8Array | Uint8Array | Int16Array | Uint16Array | Uint32Array;

/** By the names of ONNX Runtime. Those that are missing (strings, complex and 4-bit numbers) are refused. */
export const elementTypes: Readonly<Partial<Record<string, ElementType>>> = {
  float32: { dtype: 'float32', encode: unshared, decode: (data) => data as Float32Array },
  float64: {
    dtype: 'float32',
    encode: (values) => new Float64Array(values),
    decode: (data) => new Float32Array(data as Float64Array),
  },
  float16: {
    dtype: 'float32',
    encode: (values) => toFloat16(values.slice() as Float32Array),
    // Where Node has the class Float16Array, that is what comes.
    decode: (data) =>
      data instanceof Uint16Array ? fromFloat16(data) : new Float32Array(data as Float32Array),
  },
  bool: { dtype: 'bool', encode: unshared, decode: (data) => data as Uint8Array },
  int32: { dtype: 'int32', encode: unshared, decode: (data) => data as Int32Array },
  int8: integers('int8', Int8Array),
  uint8: integers('uint8', Uint8Array),
  int16: integers('int16', Int16Array),
  uint16: integers('uint16', Uint16Array),
  uint32: integers('uint32', Uint32Array),
  int64: longIntegers('int64', BigInt64Array, (low) => low >> 31),
  uint64: longIntegers('uint64', BigUint64Array, () => 0),
};

/** Bytes that were widened are in this thread already, and a copy of them would be garbage after each batch. */
function unshared(values: TensorValues): TensorValues {
  return values.buffer instanceof SharedArrayBuffer ? values.slice() : values;
}

/** Integers of at most 32 bits. A number that does not fit would be wrapped around. */
function integers(name: string, Type: new (values: ArrayLike<number>) => SmallInteger): ElementType {
  return {
    dtype: 'int32',
    encode: (values) => {
      const encoded = new Type(values);
      const misfit = encoded.findIndex((value, i) => value !== values[i]);
      if (misfit >= 0) throw new RangeError(`${name} cannot hold ${String(values[misfit])}`);
      return encoded;
    },
    decode: (data) => {
      const decoded = new Int32Array(data as SmallInteger);
      const misfit = decoded.findIndex((value, i) => value !== data[i]);
      if (misfit >= 0) throw beyond32Bits(data[misfit]);
      return decoded;
    },
  };
}

/**
 * Integers of 64 bits, as pairs of 32 bits, the lower first: BigInts would be many times slower.
 *
 * @param higher the higher 32 bits of a number that fits into an int32
 */
function longIntegers(
  name: string,
  Type: new (memory: ArrayBuffer) => BigInt64Array | BigUint64Array,
  higher: (low: number) => number,
): ElementType {
  return {
    dtype: 'int32',
    encode: (values) => {
      const pairs = new Int32Array(2 * values.length);
      for (const [i, low] of values.entries()) {
        if (low < 0 && higher(low) === 0) throw new RangeError(`${name} cannot hold ${low}`);
        pairs[2 * i] = low;
        pairs[2 * i + 1] = higher(low);
      }
      return new Type(pairs.buffer);
    },
    decode: (data) => {
      const pairs = new Int32Array(data.buffer as ArrayBuffer, data.byteOffset, 2 * data.length);
      return Int32Array.from({ length: data.length }, (_, i) => {
        const low = Number(pairs[2 * i]);
        if (pairs[2 * i + 1] !== low >> 31) throw beyond32Bits(data[i]);
        return low;
      });
    },
  };
}

function beyond32Bits(value: unknown): RangeError {
  return new RangeError(`${String(value)} is beyond 32 bits, and results are int32`);
}
