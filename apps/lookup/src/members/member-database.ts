import { ApiError } from '@app/serving';
import type { Member, NewMember } from './member.js';

/**
 * Where the members are: what the application needs of a database, a whole batch per call. SQLite and PostgreSQL keep
 * the same promises, and the same tests hold them to it.
 */
export abstract class MemberDatabase {
  /** For people. */
  abstract readonly name: string;
  /** The statement of `find`, whatever the number of ids. */
  abstract readonly sql: string;
  /** How many calls of `find` it can do at the same time. */
  abstract readonly readers: number;

  /** The members with these ids, each once, in any order. An id without a member is left out. */
  abstract find(ids: readonly number[]): Promise<Member[]> | Member[];

  /**
   * Stores the members in one transaction. When it resolves, they are on disk.
   *
   * @returns one result per member, in their order: the member with its id, or why the database refused it alone. Of two
   *   that want the same e-mail address the first one gets it.
   * @throws when none of them was stored, or it is not known which
   */
  abstract insert(members: readonly NewMember[]): Promise<(Member | Error)[]> | (Member | Error)[];

  abstract close(): Promise<void> | void;
}

/** 503: the database could not do what was asked, and may be able to in a second. */
export function databaseError(message: string, cause: unknown): ApiError {
  return new ApiError(503, 'ERR_DATABASE', message, { cause });
}
