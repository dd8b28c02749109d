import { Ajv, type ErrorObject, type SchemaObject, type ValidateFunction } from 'ajv';

/** One property of a value. The words say what it takes, for messages. */
export type Property = SchemaObject & { description: string };

/** A value is not what it has to be; the message says, for each thing that is wrong, what was expected and what came. */
export class CheckError extends Error {}

/** What an object from a stranger has to be: each property as its schema says, and no others. */
export class ObjectSchema<T> {
  readonly #validate: ValidateFunction<T>;

  constructor(properties: Readonly<Record<string, Property>>) {
    const names = Object.keys(properties);
    const ajv = new Ajv({ allErrors: true, useDefaults: true, verbose: true });
    this.#validate = ajv.compile<T>({
      type: 'object',
      properties,
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
    return `${String(params.additionalProperty)}: expected no such property, only ${expected}`;
  }
  const name = instancePath.slice(1);
  return `${name ? `${name}: ` : ''}expected ${expected}, got ${show(data)}`;
}

/** A value as it may stand in a message: short, whatever it is. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
