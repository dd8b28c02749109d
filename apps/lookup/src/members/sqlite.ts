import { StartError } from '@app/serving';

/** What the lookup uses of a SQLite driver. `node:sqlite` and better-sqlite3 have it under the same names. */
export interface SqliteConnection {
  exec(sql: string): unknown;
  prepare(sql: string): SqliteStatement;
  close(): unknown;
}

export interface SqliteStatement {
  all(...values: readonly SqliteValue[]): unknown[];
  get(...values: readonly SqliteValue[]): unknown;
  run(...values: readonly SqliteValue[]): { lastInsertRowid: number | bigint };
}

type SqliteValue = string | number;

/** Opens the file, or makes it. */
export type SqliteDriver = new (file: string) => SqliteConnection;

/**
 * `node:sqlite` where this Node has it without a flag, from 22.13 on; else better-sqlite3. Node's own goes first also where
 * both are installed: better-sqlite3 is an addon, which is built for one ABI and fails on the next Node. The file is the
 * same, so a database may change from one to the other.
 *
 * @throws {StartError} that says what to do where there is neither
 */
export async function loadSqlite(): Promise<SqliteDriver> {
  const builtIn = process.getBuiltinModule('node:sqlite') as { DatabaseSync: SqliteDriver } | undefined;
  return builtIn?.DatabaseSync ?? (await loadBetterSqlite3());
}

/**
 * SQLite's name for what went wrong, such as `SQLITE_BUSY`, whichever driver threw it; undefined for errors of another
 * origin. `node:sqlite` gives the number alone: codes that the lookup does not tell apart come as their primary one, or
 * as `SQLITE_ERROR`.
 */
export function sqliteCode(error: unknown): string | undefined {
  const { code, errcode = 0 } = error as { code?: unknown; errcode?: number };
  if (code === 'ERR_SQLITE_ERROR') return codes[errcode] ?? codes[errcode & 0xff] ?? 'SQLITE_ERROR';
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : undefined;
}

/** https://sqlite.org/rescode.html; the low byte of an extended code is its primary one. */
const codes: Readonly<Record<number, string>> = {
  5: 'SQLITE_BUSY',
  8: 'SQLITE_READONLY',
  11: 'SQLITE_CORRUPT',
  13: 'SQLITE_FULL',
  14: 'SQLITE_CANTOPEN',
  19: 'SQLITE_CONSTRAINT',
  26: 'SQLITE_NOTADB',
  275: 'SQLITE_CONSTRAINT_CHECK',
  2067: 'SQLITE_CONSTRAINT_UNIQUE',
};

/** It is an optional dependency, built when it is installed: it may be missing, or built for another Node. */
async function loadBetterSqlite3(): Promise<SqliteDriver> {
  try {
    const { default: Database } = await import('better-sqlite3');
    new Database(':memory:').close();
    // Its types tie a statement to its parameters.
    return Database as unknown as SqliteDriver;
  } catch (cause) {
    throw new StartError(
      `better-sqlite3 does not work here: ${(cause as Error).message.split('\n', 1).join()}\n` +
        'Install it with `npm install better-sqlite3`, or build it anew with `npm rebuild better-sqlite3`, which need ' +
        'Python 3, make and a C++ compiler; or use Node 22.13 or later, which needs no addon; or set DATABASE_URL to use ' +
        'PostgreSQL.',
      { cause },
    );
  }
}
