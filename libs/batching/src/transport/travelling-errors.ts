import { types } from 'node:util';
import { BatchingError, brandAs, brandsOf, type ErrorKind } from '../core/errors.js';
import { RemoteError } from './errors.js';
import type { ErrorClass } from './transport.js';

/** How deep causes of causes are followed. */
const DEPTH = 4;
/** Longest text of an error that travels, in UTF-16 units. */
const LONGEST = 8_000;

/** What a node threw, as it is encoded. Short names, as each answer has them; unknown ones are ignored. */
interface Travelling {
  /** Not an error at all: the value. */
  value?: unknown;
  /** The name under which its class is registered. */
  as?: string;
  /** The brands of a `BatchingError`. */
  brands?: string[];
  code?: string;
  kind?: string;
  publicMessage?: string;
  name?: string;
  message?: string;
  stack?: string;
  cause?: Travelling;
  fields?: Record<string, unknown>;
}

type Registered = ReadonlyMap<string, ErrorClass>;

/**
 * Takes an error apart. A `BatchingError` is recognised by its brands, as by another copy of this library; an
 * error of the user by its class, or the nearest one above it that is registered.
 */
export function takeApart(thrown: unknown, registered: Registered, depth = DEPTH): Travelling {
  if (!isError(thrown)) return { value: plain(thrown) };
  const error = thrown as Error & { code?: unknown };
  const travelling: Travelling = {
    name: cut(error.name),
    message: cut(error.message),
    stack: cut(error.stack),
    fields: fieldsOf(error),
  };
  if (error.cause !== undefined && depth > 1)
    travelling.cause = takeApart(error.cause, registered, depth - 1);
  const as = nameOf(error, registered);
  if (as !== undefined) return { ...travelling, as };
  if (!(error instanceof BatchingError)) return travelling;
  const { code, kind, publicMessage } = error;
  return { ...travelling, brands: brandsOf(error), code, kind, publicMessage };
}

/** Puts an error together again. Whatever arrives, something is returned that can be thrown. */
export function putTogether(arrived: unknown, registered: Registered, queue: string, depth = DEPTH): unknown {
  if (typeof arrived !== 'object' || arrived === null) return damaged(queue);
  const travelling = arrived as { [K in keyof Travelling]: unknown };
  if ('value' in travelling) return travelling.value;
  const { as, brands, name, message, stack, cause, fields } = travelling;
  const type = typeof as === 'string' ? (BUILT_IN.get(as) ?? registered.get(as)) : undefined;
  const isOurs = Array.isArray(brands);
  const error = type
    ? (Object.create(type.prototype as object) as Error)
    : isOurs
      ? new TravelledError(travelling)
      : new RemoteError(text(message, 'an error without a message'));
  const set = (key: string, value: unknown): void => {
    define(error, key, value, false);
  };
  if (isRecord(fields)) {
    for (const [key, value] of Object.entries(fields)) {
      if (!isReserved(key, isOurs)) define(error, key, value, key !== 'key');
    }
  }
  if (typeof message === 'string') set('message', message);
  if (typeof stack === 'string') set('stack', stack);
  if (cause !== undefined && depth > 1) set('cause', putTogether(cause, registered, queue, depth - 1));
  if (typeof name === 'string' && (!type || name !== error.name)) set('name', name);
  return error;
}

/** An error of this library that has come from another node: `instanceof` its class holds by its brands. */
class TravelledError extends BatchingError {
  readonly code: string;
  override readonly kind: ErrorKind;
  readonly #publicMessage: string | undefined;

  constructor({ brands, code, kind, publicMessage }: { [K in keyof Travelling]: unknown }) {
    super('');
    this.code =
      typeof code === 'string' && /^ERR_BATCHING_[A-Z_]{1,40}$/.test(code) ? code : 'ERR_BATCHING_REMOTE';
    this.kind = KINDS.find((known) => known === kind) ?? 'failure';
    this.#publicMessage = typeof publicMessage === 'string' ? publicMessage : undefined;
    for (const one of brands as unknown[]) {
      if (typeof one === 'string' && /^[A-Z]\w{0,60}$/.test(one)) brandAs(this, one);
    }
  }

  override get publicMessage(): string | undefined {
    return this.#publicMessage;
  }
}

/** Known on every node. */
const BUILT_IN: Registered = new Map<string, ErrorClass>(
  Object.entries({ Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }),
);

const KINDS: readonly ErrorKind[] = [
  'overload',
  'unavailable',
  'stopped',
  'timeout',
  'too-large',
  'input',
  'missing',
  'failure',
];

/** Set apart from the other fields, or of no concern to another node. */
const RESERVED = new Set([
  'name',
  'message',
  'stack',
  'cause',
  'code',
  'kind',
  'publicMessage',
  'constructor',
  'prototype',
  '__proto__',
  'toString',
  'toJSON',
  'then',
]);

/** A user's error may have a `code` or a `kind` of its own. */
function isReserved(key: string, isOurs: boolean): boolean {
  return RESERVED.has(key) && (isOurs || (key !== 'code' && key !== 'kind'));
}

/** An `Error` of another realm (a vm context, Jest) is not `instanceof Error` here. */
function isError(value: unknown): boolean {
  return value instanceof Error || types.isNativeError(value);
}

function isBatchingError(error: Error): boolean {
  return error instanceof BatchingError;
}

/** Its own enumerable properties that can travel, and the `key` of a `MissingResultError`, which is none. */
function fieldsOf(error: Error & { key?: unknown }): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  const isOurs = isBatchingError(error);
  for (const [key, value] of Object.entries(error)) {
    if (!isReserved(key, isOurs)) fields[key] = plain(value);
  }
  const { key } = error;
  if (isOurs && key !== undefined) fields.key = plain(key);
  return fields;
}

/** The value, if it is data all through; else what can be said of it in a few words. */
function plain(value: unknown, depth = 6): unknown {
  if (typeof value === 'function') return undefined;
  if (typeof value === 'symbol') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date || ArrayBuffer.isView(value)) return value;
  if (isError(value)) return { name: (value as Error).name, message: (value as Error).message };
  if (depth === 0) return undefined;
  if (Array.isArray(value)) return value.slice(0, 1000).map((each) => plain(each, depth - 1));
  const entries = Object.entries(value).map(([key, each]) => [key, plain(each, depth - 1)]);
  return Object.fromEntries(entries.filter(([, each]) => each !== undefined));
}

/** An `Error` of no other class is one; a class that is not registered counts as the nearest above it. */
function nameOf(error: Error, registered: Registered): string | undefined {
  const own = Reflect.getPrototypeOf(error);
  if (own === Error.prototype) return 'Error';
  for (let type = own; type && type !== Error.prototype; type = Reflect.getPrototypeOf(type)) {
    if (type === BatchingError.prototype) return undefined;
    for (const [name, one] of [...registered, ...BUILT_IN]) if (one.prototype === type) return name;
  }
  return undefined;
}

function damaged(queue: string): RemoteError {
  return new RemoteError(`${queue}: an error arrived that cannot be read`);
}

function text(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise;
}

function cut(value: unknown): string {
  return text(value, '').slice(0, LONGEST);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function define(target: object, key: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(target, key, { value, enumerable, writable: true, configurable: true });
}
