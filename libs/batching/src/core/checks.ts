export function checkMilliseconds(name: string, value: number): number {
  if (typeof value !== 'number') {
    throw new TypeError(`${name}: expected a number of milliseconds, got ${showNoNumber(value)}`);
  }
  if (!(value >= 0)) throw new RangeError(`${name}: expected milliseconds ≥ 0, got ${show(value)}`);
  return value;
}

export function checkCost(name: string, value: number): number {
  if (typeof value !== 'number') {
    throw new TypeError(`${name}: expected a number ≥ 0, got ${showNoNumber(value)}`);
  }
  if (!(value >= 0)) throw new RangeError(`${name}: expected a number ≥ 0, got ${show(value)}`);
  return value;
}

export function checkCount(name: string, value: number, least: number): number {
  const expected = `expected an integer ≥ ${least} or Infinity`;
  if (typeof value !== 'number') throw new TypeError(`${name}: ${expected}, got ${showNoNumber(value)}`);
  if (value < least || !(Number.isSafeInteger(value) || value === Infinity)) {
    throw new RangeError(`${name}: ${expected}, got ${show(value)}`);
  }
  return value;
}

/** What came instead of a number; for a number in a string, as environment variables are, with what to do. */
function showNoNumber(value: unknown): string {
  const isNumeric = typeof value === 'string' && value.trim() !== '' && !Number.isNaN(Number(value));
  return (
    show(value) + (isNumeric ? '; an environment variable is a string, so use Number(process.env.X)' : '')
  );
}

export function checkOneOf<T extends string>(name: string, allowed: readonly T[], value: T): T {
  if (allowed.includes(value)) return value;
  const choices = allowed.map((choice) => `'${choice}'`).join(' or ');
  throw typeof value === 'string'
    ? new RangeError(`${name}: expected ${choices}, got ${show(value)}`)
    : new TypeError(`${name}: expected ${choices}, got ${show(value)}`);
}

export function checkType<T>(name: string, type: 'string' | 'boolean' | 'function', value: T): T {
  if (typeof value === type) return value;
  throw new TypeError(`${name}: expected a ${type}, got ${show(value)}`);
}

/**
 * The name of a function, or `otherwise` if it is empty or no string: a class may have a static `name` of any
 * type.
 */
export function functionName({ name }: { readonly name: unknown }, otherwise: string): string {
  return typeof name === 'string' && name !== '' ? name : otherwise;
}

/**
 * A thrown value as text for a message. Anything can be thrown, even a value whose conversion to a string
 * throws.
 */
export function showThrown(thrown: unknown): string {
  try {
    return String(thrown);
  } catch {
    return show(thrown);
  }
}

/** A short description of any value, for a message. Never throws. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`;
  if (typeof value === 'function') return `a function`;
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    if (Array.isArray(value)) return `an array of ${value.length}`;
    const type = Object.prototype.toString.call(value).slice(8, -1).slice(0, 40);
    return `${/^[AEIOU]/.test(type) ? 'an' : 'a'} ${type}`;
  } catch {
    return 'an object';
  }
}

/** Calls `check`; prefixes the message of the error that it throws with `where`. */
export function naming<T>(where: string, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    const message = `${where}: ${(cause as Error).message}`;
    throw cause instanceof TypeError ? new TypeError(message) : new RangeError(message);
  }
}
