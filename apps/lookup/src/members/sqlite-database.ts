import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { StartError } from '@app/serving';
import { type Member, type NewMember, refusal } from './member.js';
import { databaseError, MemberDatabase } from './member-database.js';
import { loadSqlite, sqliteCode, type SqliteConnection, type SqliteStatement } from './sqlite.js';

/** Longest wait, in ms, for a lock that another program holds at the start: it may be filling the same file. */
const START_WAIT = 10_000;

/**
 * Longest wait, in ms, for a lock that another program holds later. SQLite's own wait would block the event loop, and with
 * it every caller; so SQLite does not wait, and a batch is tried again every `LOCK_POLL` ms while the loop goes on.
 */
const LOCK_WAIT = 500;
const LOCK_POLL = 10;

/**
 * One file, no server.
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
  // A list of ? would need one statement per length, and SQLite takes at most 32,766.
  readonly sql = 'SELECT * FROM members WHERE id IN (SELECT value FROM json_each(?))';
  readonly #database: SqliteConnection;
  readonly #find: SqliteStatement;
  readonly #insert: SqliteStatement;

  /**
   * Opens the file, or makes and fills it, all or nothing.
   *
   * @param samples what a new database is filled with
   * @throws {StartError} that says what to do where the file or its driver cannot be used
   */
  static async open(file: string, samples: Iterable<NewMember>): Promise<SqliteDatabase> {
    const Driver = await loadSqlite();
    let database: SqliteConnection | undefined;
    try {
      mkdirSync(dirname(file), { recursive: true });
      database = new Driver(file);
      // Nothing else runs yet that this could block.
      database.exec(`PRAGMA busy_timeout = ${START_WAIT}`);
      // Readers do not wait for the writer; a commit returns when it is on disk, as a 201 promises.
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
      // It takes the lock before it looks, so that of two processes one fills and the other waits.
      transaction(database, (connection) => {
        makeTable(connection, file, samples);
      });
      database.exec('PRAGMA busy_timeout = 0');
      return new SqliteDatabase(database);
    } catch (error) {
      database?.close();
      throw startErrorOf(file, error);
    }
  }

  private constructor(database: SqliteConnection) {
    super();
    this.#database = database;
    const { version } = database.prepare('SELECT sqlite_version() AS version').get() as { version: string };
    this.name = `SQLite ${version}`;
    this.#find = database.prepare(this.sql);
    this.#insert = database.prepare(INSERT);
  }

  find(ids: readonly number[]): Promise<Member[]> {
    return whenFree('Try again.', () => this.#find.all(JSON.stringify(ids)) as Member[]);
  }

  insert(members: readonly NewMember[]): Promise<(Member | Error)[]> {
    return whenFree('Nothing was stored: try again.', () =>
      transaction(this.#database, () => members.map((member) => this.#insertOne(member))),
    );
  }

  close(): void {
    this.#database.close();
  }

  #insertOne(member: NewMember): Member | Error {
    try {
      const { lastInsertRowid } = this.#insert.run(...valuesOf(member));
      return { id: Number(lastInsertRowid), ...member };
    } catch (error) {
      const refused = refusalOf(member, error);
      // Some errors undo the whole transaction, and the rows that follow would then be stored one by one.
      if (!isInTransaction(this.#database)) throw error;
      return refused;
    }
  }
}

const INSERT = 'INSERT INTO members (name, email, city, born, joined) VALUES (?, ?, ?, ?, ?)';

function valuesOf({ name, email, city, born, joined }: NewMember) {
  return [name, email, city, born, joined] as const;
}

/** What the lookup relies on, in the words of `shapeOf`. */
const SHAPE =
  'born INTEGER, city TEXT, email TEXT, id INTEGER PRIMARY KEY, joined INTEGER, name TEXT, UNIQUE (email)';

function makeTable(database: SqliteConnection, file: string, samples: Iterable<NewMember>): void {
  if (!database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'members'").get()) {
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
    const insert = database.prepare(INSERT);
    for (const sample of samples) insert.run(...valuesOf(sample));
    return;
  }
  if (shapeOf(database) !== SHAPE) {
    throw new StartError(
      `${file} has a table "members" that is not the lookup's: expected ${SHAPE}; found ${shapeOf(database)}.\n` +
        'Move the file away, or set DATA_FOLDER to another folder; a new file is made there.',
    );
  }
  // A file that was cut off lacks its last pages. To look at all of them would take as long as the file is large.
  database
    .prepare(
      'SELECT (SELECT min(id) FROM members), (SELECT max(id) FROM members), (SELECT max(email) FROM members)',
    )
    .get();
}

/** The columns of the table by name, and whether two members could have the same address. */
function shapeOf(database: SqliteConnection): string {
  const columns = database.prepare(`
    SELECT name || ' ' || type || iif(pk, ' PRIMARY KEY', '') AS part FROM pragma_table_info('members') ORDER BY name`);
  const unique = database.prepare(`
    SELECT 'UNIQUE (email)' AS part FROM pragma_index_list('members') AS list
    WHERE list."unique" AND NOT list.partial
      AND (SELECT group_concat(name) FROM pragma_index_info(list.name)) = 'email' LIMIT 1`);
  const parts = [...columns.all(), ...unique.all()] as { part: string }[];
  return parts.map(({ part }) => part).join(', ');
}

/** Takes the lock to write at once: taken later, it could be refused in the middle. */
function transaction<T>(database: SqliteConnection, work: (database: SqliteConnection) => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = work(database);
    database.exec('COMMIT');
    return result;
  } catch (error) {
    if (isInTransaction(database)) database.exec('ROLLBACK');
    throw error;
  }
}

/** SQLite refuses a BEGIN within a transaction, and nothing else happens. Node 22.13 has no other way to ask. */
function isInTransaction(database: SqliteConnection): boolean {
  try {
    database.exec('BEGIN');
  } catch {
    return true;
  }
  database.exec('ROLLBACK');
  return false;
}

/** Waits, without blocking, until no other program holds the lock that is needed, or until `LOCK_WAIT` is over. */
async function whenFree<T>(advice: string, work: () => T): Promise<T> {
  const end = performance.now() + LOCK_WAIT;
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (!isBusy(error) || performance.now() > end) throw failure(error, advice);
    }
    await sleep(LOCK_POLL);
  }
}

function isBusy(error: unknown): boolean {
  return sqliteCode(error)?.startsWith('SQLITE_BUSY') ?? false;
}

/** 503 for what is wrong with the file, the disk or another program; anything else is a fault of this program. */
function failure(error: unknown, advice: string): unknown {
  const code = sqliteCode(error);
  if (code === undefined) return error;
  const { message } = error as Error;
  new Logger(SqliteDatabase.name).error(`A batch failed: ${message} (${code})`);
  return isBusy(error)
    ? databaseError(`Another program has locked the database for more than ${LOCK_WAIT} ms. ${advice}`, error)
    : databaseError(`The database failed, for the whole batch. ${advice}`, error);
}

/**
 * SQLite undoes a statement that breaks a constraint, and nothing else: the transaction goes on, without a savepoint.
 *
 * @throws anything else, such as a full disk: then nothing of the batch is stored
 */
function refusalOf(member: NewMember, error: unknown): Error {
  const code = sqliteCode(error);
  if (!code?.startsWith('SQLITE_CONSTRAINT')) throw error;
  if (code === 'SQLITE_CONSTRAINT_UNIQUE') return refusal(member, 'unique', error as Error);
  if (code === 'SQLITE_CONSTRAINT_CHECK') return refusal(member, 'check', error as Error);
  return refusal(member, 'other', error as Error);
}

/** Why the file cannot be used, and what to do; errors of another origin stay as they are. */
function startErrorOf(file: string, cause: unknown): unknown {
  const { message, syscall } = cause as NodeJS.ErrnoException;
  const code = sqliteCode(cause);
  if (code === undefined && syscall === undefined) return cause;
  const elsewhere = 'set DATA_FOLDER to another folder';
  const [what, advice] = ((): [what: string, advice: string] => {
    switch (code?.split('_', 2)[1]) {
      case 'NOTADB':
        return ['is not a SQLite database', `Move it away, or ${elsewhere}`];
      case 'CORRUPT':
        return ['is damaged', `Put a copy back, move it away to begin with a new one, or ${elsewhere}`];
      case 'BUSY':
        return [
          `is locked by another program for more than ${START_WAIT / 1000} s`,
          `Stop that program, or ${elsewhere}`,
        ];
      case 'FULL':
        return ['cannot be written', `Make room on its disk, or ${elsewhere}`];
      case undefined:
      case 'READONLY':
      case 'CANTOPEN':
        return ['cannot be opened and written', `Allow it for the file and its folder, or ${elsewhere}`];
      default:
        return ['cannot be used', `Move it away, or ${elsewhere}`];
    }
  })();
  return new StartError(`${file} ${what}: ${message}.\n${advice}.`, { cause });
}
