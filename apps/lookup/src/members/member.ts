import { ApiError, invalid } from '@app/serving';
import { applyDecorators, type PipeTransform } from '@nestjs/common';
import { ApiProperty } from '@nestjs/swagger';
import { IsInt, Matches, Max, Min } from 'class-validator';
import { asJson, Line, WellFormed, wholeNumber } from '../validators.js';

/** A member of a public library. */
export interface Member {
  id: number;
  name: string;
  /** Unique. */
  email: string;
  city: string;
  /** Year of birth. */
  born: number;
  /** The year in which they joined, at the age of 6 to 120. */
  joined: number;
}

/** A member that is not stored yet. */
export type NewMember = Omit<Member, 'id'>;

/** Blanks, and what cannot be seen: controls, zero-width characters, marks of direction. */
const NOT_IN_EMAIL = '\\s@\\p{Cc}\\p{Cf}\\p{Default_Ignorable_Code_Point}';

/** What a client sends to add a member. The database looks at what is between the fields and between the rows. */
export class AddMember {
  @ApiProperty({ minLength: 1, maxLength: 100, description: 'In one line' })
  @Line(100)
  readonly name!: string;

  @ApiProperty({ maxLength: 200, description: 'Is stored in small letters' })
  @Email()
  readonly email!: string;

  @ApiProperty({ minLength: 1, maxLength: 100, description: 'In one line' })
  @Line(100)
  readonly city!: string;

  @ApiProperty({ type: 'integer', minimum: 1000, maximum: 9999, description: 'Year of birth' })
  @IsInt({ message: 'a year of four digits' })
  @Min(1000, { message: 'a year of four digits' })
  @Max(9999, { message: 'a year of four digits' })
  readonly born!: number;
}

/** The largest number of a member: that of a PostgreSQL `integer`. */
const LARGEST = 2_147_483_647;

/** The number of a member in a path. By hand: class-validator would take longer than the lookup itself. */
export class MemberId implements PipeTransform<string, number> {
  /** @throws {ApiError} 400 for what is no such number, whether there is a member or not */
  transform(text: string): number {
    const id = wholeNumber(text);
    if (typeof id === 'number' && id >= 1 && id <= LARGEST) return id;
    const expected = `the number of a member, from 1 to ${LARGEST}`;
    throw invalid([{ path: 'id', expected, received: asJson(id) }]);
  }
}

/**
 * The one spelling under which an address is stored, so that both databases, which compare bytes, call the same addresses
 * equal: capitals do not count, and a letter with an accent is one character, however it was typed.
 */
export function normalEmail(email: string): string {
  return email.normalize('NFC').toLowerCase().normalize('NFC');
}

export function noSuchMember(id: number): ApiError {
  return new ApiError(
    404,
    'ERR_NO_SUCH_MEMBER',
    `There is no member ${id}. Members are numbered from 1; POST /members adds one and tells its number.`,
  );
}

/** The error of a member whose row the database refused. */
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

function Email(): PropertyDecorator {
  // Each character has one place where it can match: `.+[.].+` would try all dots of a long text.
  const pattern = `^(?=.{1,200}$)[^${NOT_IN_EMAIL}]+@[^${NOT_IN_EMAIL}.]+([.][^${NOT_IN_EMAIL}.]+)+$`;
  const message = 'an e-mail address of at most 200 characters';
  return applyDecorators(Matches(new RegExp(pattern, 'u'), { message }), WellFormed());
}
