import { addExtension, Packr } from 'msgpackr';
import { type Allocate, type Codec, newMessage, withRoom } from './codec.js';

const packr = new Packr({ structuredClone: true, copyBuffers: true });

/** A first byte that MessagePack never writes: a typed array by itself follows, as its type and its bytes. */
const RAW = 0xc1;
/** The types of typed arrays. Their order is part of the format; it is that in which msgpackr numbers them. */
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
const UINT8 = TYPED_ARRAYS.indexOf('Uint8Array');
const BUFFER = 0xff;

interface AnyTypedArray extends ArrayBufferView {
  readonly [Symbol.toStringTag]: string;
}
type TypedArrayClass = (new (buffer: ArrayBufferLike) => AnyTypedArray) & {
  readonly BYTES_PER_ELEMENT: number;
};

/**
 * MessagePack with msgpackr's extensions for typed arrays, `Map`, `Set`, `Date`, `BigInt`, `undefined` and circles.
 * Instances of classes arrive as plain objects, and functions as `undefined`. A typed array by itself, as an image is, goes
 * without MessagePack, which costs several times as much.
 *
 * Every message stands alone (no shared structures), so any node reads what any other has written. What it
 * returns has memory of its own, since a view of the message would keep a whole read of the socket alive.
 *
 * Imported by the transports that need it alone: msgpackr is an optional peer of the package.
 */
export const msgpackCodec: Codec = {
  pack: (value, room, allocate) =>
    (ArrayBuffer.isView(value) ? packRaw(value as AnyTypedArray, room, allocate) : undefined) ??
    withRoom(room, packr.pack(value), allocate),
  unpack: (bytes) => (bytes[0] === RAW ? unpackRaw(bytes) : (packr.unpack(bytes) as unknown)),
};

/** @returns `undefined` for a `DataView` */
function packRaw(array: AnyTypedArray, room: number, allocate: Allocate = newMessage): Buffer | undefined {
  const type = Buffer.isBuffer(array) ? BUFFER : TYPED_ARRAYS.indexOf(array[Symbol.toStringTag]);
  if (type < 0) return undefined;
  const bytes = allocate(room + 2 + array.byteLength);
  bytes[room] = RAW;
  bytes[room + 1] = type;
  bytes.set(Buffer.isBuffer(array) ? array : bytesOf(array), room + 2);
  return bytes;
}

/** @throws TypeError for a type that is not known, RangeError for a number of bytes that no array of it has */
function unpackRaw(bytes: Uint8Array): AnyTypedArray {
  const [, type] = bytes;
  // The two that images and texts are, without an ArrayBuffer for each: V8 has those of some bytes in its heap.
  if (type === BUFFER || type === UINT8) {
    const length = bytes.byteLength - 2;
    const own = type === BUFFER ? Buffer.allocUnsafeSlow(length) : new Uint8Array(length);
    own.set(bytes.subarray(2));
    return own;
  }
  const from = bytes.byteOffset + 2;
  const buffer = bytes.buffer.slice(from, bytes.byteOffset + bytes.byteLength);
  return create(type ?? -1, buffer);
}

function create(type: number, buffer: ArrayBufferLike): AnyTypedArray {
  const name = TYPED_ARRAYS[type];
  if (name === undefined) throw new TypeError(`no typed array has the number ${type}`);
  return new (Reflect.get(globalThis, name) as TypedArrayClass)(buffer);
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

// Jest has typed arrays of two realms: its own, and Uint8Array of Node, by which alone msgpackr knows them.
const ofThisRealm = Reflect.getPrototypeOf(Float32Array) as new () => AnyTypedArray;
if (ofThisRealm !== Reflect.getPrototypeOf(Uint8Array)) {
  addExtension({
    Class: ofThisRealm,
    // That of msgpackr's own extension, `t`.
    type: 0x74,
    pack: (array: AnyTypedArray) =>
      Buffer.concat([Buffer.of(TYPED_ARRAYS.indexOf(array[Symbol.toStringTag])), bytesOf(array)]),
    unpack: ([type = -1, ...bytes]: Uint8Array) => create(type, Uint8Array.from(bytes).buffer),
  });
}
