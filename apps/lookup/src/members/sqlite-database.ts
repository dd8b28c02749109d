import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type Sqlite from 'better-sqlite3';
import { StartError } from '../start-error.js';
import { type Member, type NewMember, refusal } from './member.js';
import { MemberDatabase } from './member-database.js';

/**
 * One file, no server: better-sqlite3, because Node 20 has no `node:sqlite` yet.
 *
 * It is synchronous: the event loop stands still while a statement runs, and so it does while a commit waits for the disk.
 * Requests that have come in meanwhile wait in their sockets, and the loop's next poll phase reads them all, one after
 * the other. A batch that left at once, in the handler of the first or on `process.nextTick`, would hold that one
 * request, and the loop would stand still again for the next. The queue decides in the check phase, after the poll phase:
 * all of them travel together and the disk is waited for once. The README has the measurement.
 */
export class SqliteDatabase extends MemberDatabase {
  /** Two at a time would still be one after the other. */
  readonly readers = 1;
  readonly name: string;
  readonly #database: Sqlite.Database;
  readonly #find: Sqlite.Statement<[string], Member>;
  readonly #insert: Sqlite.Transaction<(members: readonly NewMember[]) => (Member | Error)[]>;

  /**
   * Opens the file, or makes and fills it, all or nothing.
   *
   * @param samples what a new database is filled with
   * @throws {StartError} that says what to do where better-sqlite3 is missing
   */
  static async open(file: string, samples: Iterable<NewMember>): Promise<SqliteDatabase> {
    const Database = await loadDriver();
    mkdirSync(dirname(file), { recursive: true });
    const database = new Database(file);
    try {
      // Readers do not wait for the writer; a commit returns when it is on disk, as whoever gets a 201 expects.
      database.pragma('journal_mode = WAL');
      database.pragma('synchronous = FULL');
      database
        .transaction(() => {
          const isFilled = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'members'").get();
          if (isFilled) return;
          database.exec(`
          CREATE TABLE members (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            email TEXT NOT NULL UNIQUE,
            city TEXT NOT NULL,
            born INTEGER NOT NULL,
            joined INTEGER NOT NULL,
            CHECK (joined - born BETWEEN 6 AND 120)
          ) STRICT`);
          const insert = database.prepare<NewMember>(INSERT);
          for (const sample of samples) insert.run(sample);
        })
        // Takes the lock before it looks, so that of two processes one fills and the other waits.
        .immediate();
      return new SqliteDatabase(database);
    } catch (error) {
      database.close();
      throw error;
    }
  }

  private constructor(database: Sqlite.Database) {
    super();
    this.#database = database;
    this.name = `SQLite ${database.prepare<[], string>('SELECT sqlite_version()').pluck().get() ?? ''}`;
    // One statement for any number of ids: a list of ? would need one per length, and SQLite takes at most 32,766.
    this.#find = database.prepare('SELECT * FROM members WHERE id IN (SELECT value FROM json_each(?))');
    const insert = database.prepare<NewMember>(INSERT);
    this.#insert = database.transaction((members) =>
      members.map((member) => {
        try {
          return { id: Number(insert.run(member).lastInsertRowid), ...member };
        } catch (error) {
          // Some errors undo the whole transaction, and the rows that follow would then be stored one by one.
          if (!database.inTransaction) throw error;
          return refusalOf(member, error);
        }
      }),
    );
  }

  find(ids: readonly number[]): Member[] {
    return this.#find.all(JSON.stringify(ids));
  }

  insert(members: readonly NewMember[]): (Member | Error)[] {
    return this.#insert.immediate(members);
  }

  close(): void {
    this.#database.close();
  }
}

const INSERT =
  'INSERT INTO members (name, email, city, born, joined) VALUES (@name, @email, @city, @born, @joined)';

/**
 * SQLite undoes a statement that breaks a constraint, and nothing else: the transaction goes on, without a savepoint.
 *
 * @throws anything else, such as a full disk: then nothing of the batch is stored
 */
function refusalOf(member: NewMember, error: unknown): Error {
  const { code = '' } = error as { code?: string };
  if (!code.startsWith('SQLITE_CONSTRAINT')) throw error;
  if (code === 'SQLITE_CONSTRAINT_UNIQUE') return refusal(member, 'unique', error as Error);
  if (code === 'SQLITE_CONSTRAINT_CHECK') return refusal(member, 'check', error as Error);
  return refusal(member, 'other', error as Error);
}

/** It is an optional dependency, built when it is installed: it may be missing, or built for another Node. */
async function loadDriver(): Promise<typeof Sqlite> {
  try {
    const { default: Database } = await import('better-sqlite3');
    new Database(':memory:').close();
    return Database;
  } catch (cause) {
    throw new StartError(
      `better-sqlite3 does not work here: ${(cause as Error).message.split('\n', 1).join()}\n` +
        'Install it with `npm install better-sqlite3`, or build it anew with `npm rebuild better-sqlite3`, which need ' +
        'Python 3, make and a C++ compiler; or set DATABASE_URL to use PostgreSQL.',
      { cause },
    );
  }
}
