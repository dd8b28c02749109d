import { ApiError, type DocumentedError, invalid } from '@app/serving';
import { BadRequestException, type HttpException, PayloadTooLargeException } from '@nestjs/common';
import { noSuchMember, refusal } from './members/member.js';

/** The errors of each route for the reference, with examples. `test/reference.e2e.spec.ts` provokes them and compares. */

const ada = { name: 'Ada Young', email: 'ada@example.org', city: 'Bern', born: 1890, joined: 2026 };

const error = (when: string, example: HttpException): DocumentedError => ({ when, example });

const badId = error(
  'The number is none that a member can have.',
  invalid([{ path: 'id', expected: 'the number of a member, from 1 to 2147483647', received: '"ten"' }]),
);
const noMember = error('No member has this number.', noSuchMember(200_000));

function databaseErrors(queue: string): DocumentedError[] {
  return [
    error(
      'The database failed, for the whole batch.',
      new ApiError(503, 'ERR_DATABASE', 'The database failed, for the whole batch. Try again.'),
    ),
    error('The server is shutting down.', new ApiError(503, 'ERR_BATCHING_STOPPED', `${queue} was stopped`)),
  ];
}

export const findErrors = [badId, noMember, ...databaseErrors('MemberDirectory.findById')];

export const addErrors = [
  error(
    'Something is not what the schema says.',
    invalid([{ path: 'born', expected: 'a year of four digits', received: '"1990"' }]),
  ),
  error('The body is no JSON.', new BadRequestException('Unexpected token \'A\', "Ada" is not valid JSON')),
  error(
    'The e-mail address belongs to another member.',
    refusal(ada, 'unique', new Error('the database says so')),
  ),
  error('The body has more than 100 kB.', new PayloadTooLargeException('request entity too large')),
  error(
    'The body has another type.',
    new ApiError(415, 'ERR_BODY_TYPE', 'expected a body with Content-Type application/json, got text/plain'),
  ),
  error('The age on joining is none of a member.', refusal(ada, 'check', new Error('the database says so'))),
  ...databaseErrors('MemberDirectory.add'),
];

export const receiptErrors = [
  badId,
  noMember,
  ...databaseErrors('MemberDirectory.findById'),
  error(
    'The number of the receipt could not be written.',
    new ApiError(503, 'ERR_RECEIPT', 'The receipt could not be written. Try again.'),
  ),
];

export const readinessErrors = [
  error(
    'It is shutting down, or a queue takes no inputs.',
    new ApiError(503, 'ERR_NOT_READY', 'Not ready: it is shutting down.', {
      details: { server: { status: 'down', message: 'it is shutting down' } },
    }),
  ),
];
