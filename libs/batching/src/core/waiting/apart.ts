import type { InternalSubmitOptions } from '../options.js';

/** Keys of the inputs that run together and apart from others, for groups whose key is an object or a symbol. */
const ofObjects = new WeakMap<object | symbol, object>();

/**
 * The key of the group of an input that is kept from others: equal for `together` where the keys of the
 * user's groups are, and for `alone` equal to no other.
 */
export function apartFrom(
  group: unknown,
  apart: Exclude<InternalSubmitOptions['apart'], undefined>,
): unknown {
  if (apart === 'alone') return {};
  if (!isWeakKey(group)) return `apart ${typeof group} ${String(group)}`;
  let key = ofObjects.get(group);
  if (!key) ofObjects.set(group, (key = {}));
  return key;
}

/** A registered symbol lives for ever, so it is no key of a `WeakMap`; its description is as good. */
function isWeakKey(group: unknown): group is object | symbol {
  if (typeof group === 'symbol') return Symbol.keyFor(group) === undefined;
  return (typeof group === 'object' && group !== null) || typeof group === 'function';
}
