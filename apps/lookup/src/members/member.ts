import { ApiError } from '../api-error.js';
import { ObjectSchema, numberIn } from '../check.js';

/** A member of a public library. */
export interface Member {
  id: number;
  name: string;
  /** Nobody else's. */
  email: string;
  city: string;
  /** Year of birth. */
  born: number;
  /** The year in which they joined, at the age of 6 to 120. */
  joined: number;
}

/** One whom the database has not seen yet. */
export type NewMember = Omit<Member, 'id'>;

/** Blanks, and what cannot be seen: controls, zero-width characters, marks of direction. */
const NOT_IN_EMAIL = '\\s@\\p{Cc}\\p{Cf}\\p{Default_Ignorable_Code_Point}';

/** What the application sends to add a member. The database looks at what is between the fields and between the rows. */
export const memberSchema = new ObjectSchema<Omit<NewMember, 'joined'>>({
  name: line(100),
  email: {
    type: 'string',
    maxLength: 200,
    // Each character has one place where it can match: `.+[.].+` would try all dots of a long text.
    pattern: `^[^${NOT_IN_EMAIL}]+@[^${NOT_IN_EMAIL}.]+([.][^${NOT_IN_EMAIL}.]+)+$`,
    description: 'an e-mail address of at most 200 characters',
  },
  city: line(100),
  born: { type: 'integer', minimum: 1000, maximum: 9999, description: 'a year of four digits' },
});

/**
 * The one spelling under which an address is stored, so that both databases, which compare bytes, call the same addresses
 * equal: capitals do not count, and a letter with an accent is one character, however it was typed.
 */
export function normalEmail(email: string): string {
  return email.normalize('NFC').toLowerCase().normalize('NFC');
}

/** @throws {CheckError} for a text that is no number of a member, whether there is one or not */
export function checkId(text: string): number {
  return pathSchema.check({ id: numberIn(text) }).id;
}

/** The largest is that of a PostgreSQL `integer`. */
const pathSchema = new ObjectSchema<{ id: number }>({
  id: {
    type: 'integer',
    minimum: 1,
    maximum: 2_147_483_647,
    description: 'the number of a member, from 1 to 2147483647',
  },
});

export function noSuchMember(id: number): ApiError {
  return new ApiError(
    404,
    'ERR_NO_SUCH_MEMBER',
    `There is no member ${id}. Members are numbered from 1; POST /members adds one and tells its number.`,
  );
}

/** What a member is told whose row the database refused. */
export function refusal(
  { email, born, joined }: NewMember,
  kind: 'unique' | 'check' | 'other',
  cause: Error,
): ApiError {
  switch (kind) {
    case 'unique':
      return new ApiError(409, 'ERR_EMAIL_TAKEN', `${email} belongs to another member.`, { cause });
    case 'check':
      return new ApiError(
        422,
        'ERR_AGE',
        `Expected an age of 6 to 120 years on joining; born in ${born} and joining in ${joined} makes ${joined - born}.`,
        { cause },
      );
    case 'other':
      return new ApiError(422, 'ERR_ROW', `The database refused this member: ${cause.message}`, { cause });
  }
}

function line(length: number) {
  return {
    type: 'string',
    minLength: 1,
    maxLength: length,
    pattern: '^[^\\p{Cc}\\p{Zl}\\p{Zp}]*$',
    description: `a text of 1 to ${length} characters without line breaks`,
    allOf: [
      {
        // An empty one is refused above. U+2800 is braille without a dot.
        pattern: '^$|[^\\p{White_Space}\\p{Cc}\\p{Cf}\\p{Default_Ignorable_Code_Point}\\u2800]',
        description: 'a text of more than blanks',
      },
    ],
  };
}
