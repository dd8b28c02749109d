import { applyDecorators } from '@nestjs/common';
import { Matches } from 'class-validator';

/**
 * A JavaScript string, and an escape in JSON, may hold half a surrogate pair. UTF-8 cannot: it would be stored, and sent
 * back, as another text than came in, and two different ones as the same.
 */
export function WellFormed(): PropertyDecorator {
  return Matches(/^\P{Surrogate}*$/u, { message: 'well-formed Unicode, without half a surrogate pair' });
}

/** A text in one line, of more than what cannot be seen. */
export function Line(length: number): PropertyDecorator {
  return applyDecorators(
    // Not `@Length`, which does not count variation selectors.
    Matches(new RegExp(`^[^\\p{Cc}\\p{Zl}\\p{Zp}]{1,${length}}$`, 'u'), {
      message: `a text of 1 to ${length} characters without line breaks`,
    }),
    // U+2800 is braille without a dot.
    Matches(/[^\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/u, {
      message: 'a text of more than blanks',
    }),
    WellFormed(),
  );
}

/** Whole numbers in a path or an environment variable are text; what is no number stays text, for a validator to refuse. */
export function wholeNumber(text: unknown): unknown {
  return typeof text === 'string' && /^\d+$/.test(text) ? Number(text) : text;
}

/** A value as it may stand in a message: as JSON, so that characters that cannot be seen are, and short. */
export function asJson(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = nested(value, 3);
  return text.length > 60 ? `${text.slice(0, 60).replace(/\p{Surrogate}$/u, '')}…` : text;
}

/** Bounded in depth, because JSON may be nested more deeply than the stack reaches. */
function nested(value: unknown, depth: number): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const isArray = Array.isArray(value);
  if (depth === 0) return isArray ? '[…]' : '{…}';
  const parts = isArray
    ? value.map((item) => nested(item, depth - 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}:${nested(item, depth - 1)}`);
  return isArray ? `[${parts.join()}]` : `{${parts.join()}}`;
}
