import type { SchemaObject } from '@nestjs/swagger';
import { Ajv, type ErrorObject, type Options, type ValidateFunction } from 'ajv';

/** One thing that is wrong with a value, in words for whoever sent it. */
export interface Problem {
  /** Where, such as `images[3][17]`; the name of the whole where it is the whole. */
  path: string;
  expected: string;
  received: string;
}

/** A value is not what its schema says. */
export class SchemaError extends Error {
  constructor(readonly problems: readonly Problem[]) {
    super(
      problems
        .map(({ path, expected, received }) => `${path}: expected ${expected}, got ${received}`)
        .join('\n'),
    );
  }
}

/**
 * For texts of the environment: Node reads it as UTF-8, and puts U+FFFD where it is not. Half a surrogate pair cannot be
 * UTF-8 either.
 */
export const UTF8 = '^[^\\p{Surrogate}\\ufffd]*$';

/** A schema, the one that OpenAPI shows too, made into a quick check for values of strangers. */
export class CheckedSchema<T> {
  readonly #validate: ValidateFunction<T>;

  /** @param name what the whole value is called in messages */
  constructor(
    private readonly schema: SchemaObject,
    private readonly name: string,
    options?: Options,
  ) {
    const ajv = new Ajv({ verbose: true, ...options });
    // OpenAPI's own word, which says nothing about what is valid.
    ajv.addKeyword('example');
    this.#validate = ajv.compile<T>(schema);
  }

  /**
   * Gives the value back with its type. By default only the first problem is told: a stranger's body may have a million.
   *
   * @throws {SchemaError} when the value is not what the schema says
   */
  check(value: unknown): T {
    if (this.#validate(value)) return value;
    throw new SchemaError((this.#validate.errors ?? []).map((error) => problemOf(error, this.name)));
  }

  /** The same for named values that come as texts, where some shall be numbers. (Ajv would let Infinity through.) */
  checkTexts(texts: Readonly<Record<string, unknown>>): T {
    const { properties = {} } = this.schema;
    const values = Object.entries(texts).map(([name, text]) => {
      const property = Object.hasOwn(properties, name) ? properties[name] : undefined;
      const isNumber =
        property && 'type' in property && ['number', 'integer'].includes(String(property.type));
      return [name, isNumber ? toNumber(text) : text];
    });
    return this.check(Object.fromEntries(values));
  }
}

function problemOf(
  { keyword, params, instancePath, parentSchema, data }: ErrorObject,
  name: string,
): Problem {
  const schema = parentSchema as SchemaObject;
  const path = instancePath.slice(1).split('/').filter(Boolean);
  if (keyword === 'required') {
    const missing = params.missingProperty as string;
    const expected = describe(schema.properties?.[missing] as SchemaObject);
    return { path: pathOf([...path, missing], name), expected, received: 'nothing' };
  }
  return { path: pathOf(path, name), expected: describe(schema), received: show(data) };
}

function pathOf(parts: readonly string[], name: string): string {
  const path = parts.map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`)).join('');
  return path.replace(/^\./, '') || name;
}

/** What a schema takes, in words: `an array of 784 integers from 0 to 255`. */
function describe(schema: SchemaObject, many = false): string {
  const { type, items, minimum, maximum } = schema;
  if (schema.pattern === UTF8) return 'a text in UTF-8';
  if (schema.enum) return `one of ${schema.enum.join(', ')}`;
  if (type === 'array') {
    const { minItems = 0, maxItems = Infinity } = schema;
    const count = minItems === maxItems ? `${minItems}` : `${minItems} to ${maxItems}`;
    return `${many ? 'arrays' : 'an array'} of ${count} ${describe(items as SchemaObject, true)}`;
  }
  if (type === 'object') return `an object with ${schema.required?.join(' and ') ?? 'named values'}`;
  const kind = many ? `${String(type)}s` : `${type === 'integer' ? 'an' : 'a'} ${String(type)}`;
  if (minimum === undefined) return kind;
  return maximum === undefined ? `${kind} of at least ${minimum}` : `${kind} from ${minimum} to ${maximum}`;
}

function toNumber(text: unknown): unknown {
  if (typeof text !== 'string' || text.trim() === '') return text;
  return Number.isNaN(Number(text)) ? text : Number(text);
}

/** A value as it may stand in a message: short, whatever it is. */
function show(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : `an array of ${value.length}`;
  if (typeof value === 'string')
    return `'${value.length > 40 ? `${value.slice(0, 40).replace(/\p{Surrogate}$/u, '')}…` : value}'`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}
