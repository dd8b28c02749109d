import {
  applyDecorators,
  type ArgumentMetadata,
  type Type,
  type ValidationError,
  ValidationPipe,
  type ValidationPipeOptions,
} from '@nestjs/common';
import { Transform } from 'class-transformer';
import { getMetadataStorage, IsInt, Max, Min } from 'class-validator';
import { ApiError } from './api-error.js';

/** One thing that is wrong with a value. */
export interface Complaint {
  /** Where, such as `images[3][17]`. */
  path: string;
  expected: string;
  /** The value, as it may stand in a message; none where there should be no such value. */
  received?: string;
}

export type Show = (value: unknown) => string;

/** 400, with everything that is wrong in the message and in the details. */
export function invalid(complaints: readonly Complaint[]): ApiError {
  return new ApiError(400, 'ERR_INVALID', textOf(complaints), { details: complaints });
}

export function textOf(complaints: readonly Complaint[]): string {
  return complaints
    .map(({ path, expected, received }) => {
      const text = `${path && `${path}: `}expected ${expected}`;
      return received === undefined ? text : `${text}, got ${received}`;
    })
    .join('\n');
}

/** The first complaint about each property. The `message` of each validator is what it expects, in words. */
export function complaintsOf(errors: readonly ValidationError[], show: Show): Complaint[] {
  return errors.map(({ target, property, value, constraints = {} }) => {
    if ('whitelistValidation' in constraints) {
      return { path: property, expected: `no such property, only ${objectOf(target?.constructor as Type)}` };
    }
    return { path: property, expected: Object.values(constraints)[0] ?? '', received: show(value) };
  });
}

/** Nest's `ValidationPipe`, whose errors say what was expected and what came. */
export class AppValidationPipe extends ValidationPipe {
  readonly #show: Show;

  constructor({ show = showShort, ...options }: ValidationPipeOptions & { show?: Show } = {}) {
    super({
      transform: true,
      transformOptions: { exposeDefaultValues: true },
      whitelist: true,
      stopAtFirstError: true,
      validationError: { target: true },
      exceptionFactory: (errors) => invalid(complaintsOf(errors, show)),
      ...options,
    });
    this.#show = show;
  }

  override async transform(value: unknown, metadata: ArgumentMetadata): Promise<unknown> {
    const { metatype: type } = metadata;
    if (!type || !this.toValidate(metadata)) return value;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalid([{ path: '', expected: objectOf(type), received: this.#show(value) }]);
    }
    return super.transform(shallow(value), metadata);
  }
}

/** A property that is a whole number, and may come as text. */
export function Integer(
  minimum: number,
  maximum: number,
  message = `an integer from ${minimum} to ${maximum}`,
  read: (text: unknown) => unknown = toNumber,
): PropertyDecorator {
  return applyDecorators(
    Transform(({ value }) => read(value)),
    IsInt({ message }),
    Min(minimum, { message }),
    Max(maximum, { message }),
  );
}

/** The number that a text is; what is no number stays as it is, for a validator to refuse. */
export function toNumber(text: unknown): unknown {
  if (typeof text !== 'string' || text.trim() === '') return text;
  return Number.isNaN(Number(text)) ? text : Number(text);
}

/** A value as it may stand in a message: short, whatever it is. */
export function showShort(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : `an array of ${value.length}`;
  switch (typeof value) {
    case 'undefined':
      return 'nothing';
    case 'string':
      return `'${value.length > 40 ? `${value.slice(0, 40).replace(/\p{Surrogate}$/u, '')}…` : value}'`;
    case 'object':
      return value === null ? 'null' : 'an object';
    default:
      return String(value);
  }
}

function objectOf(type: Type): string {
  const rules = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
  return `an object with ${[...new Set(rules.map(({ propertyName }) => propertyName))].join(', ')}`;
}

/** Without what is nested more deeply than any message shows: class-transformer goes down as far as the stack reaches. */
function shallow(value: unknown, depth = 8): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return depth === 0 ? [] : value.map((item) => shallow(item, depth - 1));
  return Object.fromEntries(
    depth === 0 ? [] : Object.entries(value).map(([name, item]) => [name, shallow(item, depth - 1)]),
  );
}
