import { Ajv, type ErrorObject, type SchemaObject, type ValidateFunction } from 'ajv';

/** One property of a value. The words say what it takes, for messages. */
export type Property = SchemaObject & { description: string; allOf?: Property[] };

/** A value is not what it has to be; the message says, for each thing that is wrong, what was expected and what came. */
export class CheckError extends Error {}

/** What an object from a stranger has to be: each property as its schema says, and no others. */
export class ObjectSchema<T> {
  readonly #validate: ValidateFunction<T>;

  constructor(properties: Readonly<Record<string, Property>>) {
    const names = Object.keys(properties);
    const checked = Object.entries(properties).map(([name, property]) => [
      name,
      property.type === 'string' ? { ...property, allOf: [wellFormed, ...(property.allOf ?? [])] } : property,
    ]);
    const ajv = new Ajv({ allErrors: true, useDefaults: true, verbose: true });
    this.#validate = ajv.compile<T>({
      type: 'object',
      properties: Object.fromEntries(checked),
      required: names.filter((name) => !('default' in (properties[name] ?? {}))),
      additionalProperties: false,
      description: `an object with ${names.join(', ')}`,
    });
  }

  /**
   * Gives the value back with its type; properties that are missing and have a default are added.
   *
   * @throws {CheckError} when the value is not what it has to be
   */
  check(value: unknown): T {
    if (this.#validate(value)) return value;
    // Once per property: a text that is too long may break its pattern as well.
    throw new CheckError([...new Set((this.#validate.errors ?? []).map(describe))].join('\n'));
  }
}

/**
 * A JavaScript string, and an escape in JSON, may hold half a surrogate pair. UTF-8 cannot: it would be stored, and sent
 * back, as another text than came in, and two different ones as the same.
 */
const wellFormed: Property = {
  pattern: '^\\P{Surrogate}*$',
  description: 'well-formed Unicode, without half a surrogate pair',
};

/** Whole numbers in a path or an environment variable are text; what is no number stays text, for the check to refuse. */
export function numberIn(text: string | undefined): number | string | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : text;
}

function describe({ keyword, params, instancePath, parentSchema, data }: ErrorObject): string {
  if (keyword === 'required') {
    const name = params.missingProperty as string;
    const properties = parentSchema?.properties as Record<string, Property>;
    return `${name}: expected ${properties[name]?.description ?? 'a value'}, got nothing`;
  }
  const { description: expected } = parentSchema as Property;
  if (keyword === 'additionalProperties') {
    return `${cut(String(params.additionalProperty))}: expected no such property, only ${expected}`;
  }
  const name = instancePath.slice(1);
  return `${name ? `${name}: ` : ''}expected ${expected}, got ${data === undefined ? 'nothing' : cut(show(data))}`;
}

/** As JSON, for a message. Bounded in depth, because JSON may be nested more deeply than the stack reaches. */
function show(value: unknown, depth = 3): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const isArray = Array.isArray(value);
  if (depth === 0) return isArray ? '[…]' : '{…}';
  const parts = isArray
    ? value.map((item) => show(item, depth - 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}:${show(item, depth - 1)}`);
  return isArray ? `[${parts.join()}]` : `{${parts.join()}}`;
}

/** Not in the middle of a surrogate pair. */
function cut(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60).replace(/\p{Surrogate}$/u, '')}…` : text;
}
