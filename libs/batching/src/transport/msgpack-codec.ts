import { Packr } from 'msgpackr';
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
