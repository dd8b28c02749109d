import { addExtension, Packr } from 'msgpackr';
import type { Codec } from './codec.js';

/**
 * MessagePack with msgpackr's extensions for typed arrays, `Map`, `Set`, `Date`, `BigInt`, `undefined` and circles.
 * Instances of classes arrive as plain objects, and functions as `undefined`.
 *
 * Every message stands alone (no shared structures), so any node reads what any other has written. What it
 * returns has memory of its own, since a view of the message would keep a whole read of the socket alive.
 *
 * Imported by the transports that need it alone: msgpackr is an optional peer of the package.
 */
export const msgpackCodec: Codec = new Packr({ structuredClone: true, copyBuffers: true });

/** The names of typed arrays, in the order in which msgpackr numbers them. */
const TYPED_ARRAYS = [
  ...[
    'Int8Array',
    'Uint8Array',
    'Uint8ClampedArray',
    'Int16Array',
    'Uint16Array',
    'Int32Array',
    'Uint32Array',
  ],
  ...['Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array'],
];
/** The type of msgpackr's extension for them, `t`. */
const TYPED_ARRAY = 0x74;

type AnyTypedArray = ArrayBufferView & { readonly [Symbol.toStringTag]: string };

// Jest has typed arrays of two realms: its own, and Uint8Array of Node, by which alone msgpackr knows them.
const ofThisRealm = Reflect.getPrototypeOf(Float32Array) as new () => AnyTypedArray;
if (ofThisRealm !== Reflect.getPrototypeOf(Uint8Array)) {
  addExtension({
    Class: ofThisRealm,
    type: TYPED_ARRAY,
    pack: (array: AnyTypedArray) => {
      const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
      return Buffer.concat([Buffer.of(TYPED_ARRAYS.indexOf(array[Symbol.toStringTag])), bytes]);
    },
    unpack: ([type = 0, ...bytes]: Uint8Array) => {
      const create = Reflect.get(globalThis, TYPED_ARRAYS[type] ?? '') as new (
        buffer: ArrayBuffer,
      ) => AnyTypedArray;
      return new create(Uint8Array.from(bytes).buffer);
    },
  } as unknown as Parameters<typeof addExtension>[0]);
}
