import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { msgpackCodec } from './msgpack-codec.js';

/** Left free for an envelope. */
const ROOM = 3;

const travel = (value: unknown): unknown =>
  msgpackCodec.unpack(msgpackCodec.pack(value, ROOM).subarray(ROOM));

describe('what is encoded with MessagePack', () => {
  it.each([
    Int8Array.of(-1, 2),
    Uint8Array.of(1, 255),
    Uint8ClampedArray.of(3),
    Int16Array.of(-300),
    Uint16Array.of(65_535),
    Int32Array.of(-70_000),
    Uint32Array.of(2 ** 32 - 1),
    Float32Array.of(0.5, NaN),
    Float64Array.of(0.1),
    BigInt64Array.of(-5n),
    BigUint64Array.of(5n),
    new Float32Array(0),
    Buffer.from('text'),
    new Float64Array(new ArrayBuffer(32), 8, 2),
  ])('is the same array, by itself and within an object: %p', (array) => {
    for (const came of [travel(array), (travel({ in: [array] }) as { in: unknown[] }).in[0]]) {
      expect(came).toEqual(array);
      expect(Object.prototype.toString.call(came)).toBe(Object.prototype.toString.call(array));
      expect(Buffer.isBuffer(came)).toBe(Buffer.isBuffer(array));
      expect((came as Uint8Array).buffer.byteLength).toBeLessThan(100);
    }
  });

  it('is the same data', () => {
    // -0 arrives as 0, and a text that is no Unicode with replacement characters.
    const data = fc.anything({
      withDate: true,
      withBigInt: true,
      withMap: true,
      withSet: true,
      maxDepth: 3,
      key: fc.string({ unit: 'grapheme' }).filter((key) => key !== '__proto__'),
      values: [
        fc.string({ unit: 'grapheme' }),
        fc.double(),
        fc.integer(),
        fc.boolean(),
        fc.constantFrom(null, undefined),
      ],
    });
    fc.assert(
      fc.property(data, (value) => {
        expect(travel({ value })).toEqual({ value: positive(value) });
      }),
      { numRuns: 300 },
    );
  });

  it('keeps circles, and two places of one object', () => {
    const circle: Record<string, unknown> = { a: 1 };
    circle.self = circle;
    const came = travel(circle) as typeof circle;
    expect(came.self).toBe(came);
  });

  it.each([
    Buffer.of(0xc1),
    Buffer.of(0xc1, 90),
    Buffer.of(0xc1, 7, 1, 2),
    Buffer.of(0xd9, 200, 1),
    Buffer.of(),
  ])('throws for bytes that are damaged: %p', (bytes) => {
    expect(() => msgpackCodec.unpack(bytes)).toThrow(Error);
  });

  it('does not let a message change prototypes', () => {
    const hostile = msgpackCodec.pack(JSON.parse('{"__proto__": {"polluted": 1}}'), 0);
    const came = msgpackCodec.unpack(hostile) as { polluted?: unknown };
    expect(came.polluted).toBeUndefined();
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });
});

/** Zeros without their sign. */
function positive(value: unknown): unknown {
  if (value === 0) return 0;
  if (Array.isArray(value)) return value.map(positive);
  if (value instanceof Map)
    return new Map(Array.from(value, ([key, each]) => [positive(key), positive(each)]));
  if (value instanceof Set) return new Set(Array.from(value, positive));
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, positive(each)]));
}
