import { Logger } from '@nestjs/common';
import pg from 'pg';
import { type ApiError, StartError } from '@app/serving';
import { type Member, type NewMember, refusal } from './member.js';
import { databaseError, MemberDatabase } from './member-database.js';

/** Batches that are read at the same time, each over a connection of its own. More of them are smaller ones. */
const READERS = 2;

/** Rows per statement while the table is filled. */
const CHUNK = 10_000;

/**
 * A server. A statement does not block the event loop, but it is a round trip, which costs both sides more than a row
 * does; and a commit waits for the server's disk. While one batch is on its way, the next one grows in the queue.
 */
export class PostgresDatabase extends MemberDatabase {
  readonly readers = READERS;

  /**
   * Connects; makes the table and fills it if there is none, all or nothing. It is in a schema of its own, so that no
   * other application has one of the same name.
   *
   * @param samples what a new table is filled with
   * @throws {StartError} that says what to do where the server cannot be used
   */
  static async open(url: string, samples: Iterable<NewMember>): Promise<PostgresDatabase> {
    const pool = new pg.Pool({
      connectionString: url,
      connectionTimeoutMillis: 5000,
      // The server gives up before the client does, so that it is certain that nothing was done.
      statement_timeout: 10_000,
      query_timeout: 12_000,
    });
    // An idle connection breaks when the server is restarted. Unheard, the event would end the process.
    pool.on('error', (error) => {
      if (!pool.ending) new Logger(PostgresDatabase.name).warn(`A connection was lost: ${error.message}`);
    });
    try {
      await withClient(pool, (client) => makeTable(client, samples));
      const { rows } = await pool.query<{ server_version: string }>('SHOW server_version');
      return new PostgresDatabase(pool, `PostgreSQL ${rows[0]?.server_version ?? ''}`);
    } catch (cause) {
      await pool.end();
      if (cause instanceof StartError) throw cause;
      throw new StartError(
        `PostgreSQL cannot be used as DATABASE_URL says: ${wordsOf(cause)}\n` +
          'Check that the server runs and that this user may create a schema in this database; or unset DATABASE_URL to ' +
          'use SQLite.',
        { cause },
      );
    }
  }

  private constructor(
    private readonly pool: pg.Pool,
    readonly name: string,
  ) {
    super();
  }

  readonly sql = 'SELECT * FROM nest_batching_lookup.members WHERE id = ANY ($1::integer[])';

  async find(ids: readonly number[]): Promise<Member[]> {
    // Named, so that each connection prepares it once, for any number of ids.
    const query = this.pool.query<Member>({ name: 'find', text: this.sql, values: [ids] });
    const { rows } = await query.catch((error: unknown) => {
      throw failure(error, 'Try again.');
    });
    return rows;
  }

  async insert(members: readonly NewMember[]): Promise<(Member | Error)[]> {
    const rows = members.map((member): Row => ({ member, result: unknownResult }));
    // Two processes that insert the same addresses never wait for each other in a circle if both go by the alphabet.
    const sorted = rows.toSorted((a, b) => compare(a.member.email, b.member.email));
    await withClient(this.pool, async (client) => {
      try {
        await insertTogether(client, sorted);
      } catch (error) {
        if (!isRowAtFault(error)) throw error;
        await client.query('BEGIN');
        await insertApart(client, sorted);
        await client.query('COMMIT');
      }
    }).catch((error: unknown) => {
      throw failure(error, 'It is not certain that nothing was stored: look before you try again.');
    });
    return rows.map(({ result }) => result);
  }

  close(): Promise<void> {
    return this.pool.end();
  }
}

/** A member that is being inserted, and what came of it. */
interface Row {
  readonly member: NewMember;
  result: Member | Error;
}

const unknownResult = new Error('the database did not say what became of this row');

/** The usual case: one statement, which is a transaction by itself if no other is open. All or nothing. */
async function insertTogether(client: pg.PoolClient, rows: readonly Row[]): Promise<void> {
  const stored = await client.query<Member>({
    name: 'insert',
    text: `
      INSERT INTO nest_batching_lookup.members (name, email, city, born, joined)
      SELECT * FROM unnest ($1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[])
      RETURNING *`,
    values: (['name', 'email', 'city', 'born', 'joined'] as const).map((column) =>
      rows.map(({ member }) => member[column]),
    ),
  });
  // SQL promises no order of the rows that come back; but each address is there once.
  const byEmail = new Map(stored.rows.map((member) => [member.email, member]));
  for (const row of rows) row.result = byEmail.get(row.member.email) ?? unknownResult;
}

/**
 * When a row is at fault: halves, and halves of halves, until it stands alone. Each part has a savepoint, because an
 * error would otherwise end the whole transaction. One row of n at fault costs some 5 · log₂ n round trips, and the
 * others still have one commit.
 */
async function insertApart(client: pg.PoolClient, rows: readonly Row[]): Promise<void> {
  await client.query('SAVEPOINT part');
  try {
    await insertTogether(client, rows);
  } catch (error) {
    if (!isRowAtFault(error)) throw error;
    await client.query('ROLLBACK TO SAVEPOINT part');
    const [row] = rows;
    if (row && rows.length === 1) {
      row.result = refusalOf(row.member, error);
    } else {
      await insertApart(client, rows.slice(0, rows.length >> 1));
      await insertApart(client, rows.slice(rows.length >> 1));
    }
  }
}

async function makeTable(client: pg.PoolClient, samples: Iterable<NewMember>): Promise<void> {
  await client.query('BEGIN');
  // Of two processes that start at the same time, one fills and the other waits. The number means nothing.
  await client.query('SELECT pg_advisory_xact_lock(20261105)');
  const { rows } = await client.query<{ exists: boolean }>(
    "SELECT to_regclass('nest_batching_lookup.members') IS NOT NULL AS exists",
  );
  if (rows[0]?.exists) await checkTable(client);
  else await fill(client, samples);
  await client.query('COMMIT');
}

/** What the application relies on, in the words of `checkTable`. */
const SHAPE =
  'born integer, city text, email text UNIQUE, id integer GENERATED PRIMARY KEY, joined integer, name text';

/** @throws {StartError} when the table is another one of the same name */
async function checkTable(client: pg.PoolClient): Promise<void> {
  const { rows } = await client.query<{ part: string }>(`
    SELECT concat(attname, ' ', format_type(atttypid, atttypmod), CASE WHEN attidentity <> '' THEN ' GENERATED' END,
      (SELECT string_agg(CASE contype WHEN 'p' THEN ' PRIMARY KEY' ELSE ' UNIQUE' END, '')
       FROM pg_constraint WHERE conrelid = attrelid AND contype IN ('p', 'u') AND conkey = ARRAY[attnum])) AS part
    FROM pg_attribute
    WHERE attrelid = 'nest_batching_lookup.members'::regclass AND attnum > 0 AND NOT attisdropped
    ORDER BY attname COLLATE "C"`);
  const found = rows.map(({ part }) => part).join(', ');
  if (found === SHAPE) return;
  throw new StartError(
    `the table nest_batching_lookup.members is not the lookup's: expected ${SHAPE}; found ${found}.\n` +
      'Rename the table or its schema, or set DATABASE_URL to another database; a new table is made there.',
  );
}

async function fill(client: pg.PoolClient, samples: Iterable<NewMember>): Promise<void> {
  await client.query(`
    CREATE SCHEMA IF NOT EXISTS nest_batching_lookup;
    CREATE TABLE nest_batching_lookup.members (
      id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      name text NOT NULL,
      email text NOT NULL UNIQUE,
      city text NOT NULL,
      born integer NOT NULL,
      joined integer NOT NULL,
      CHECK (joined - born BETWEEN 6 AND 120)
    )`);
  let chunk: Row[] = [];
  for (const member of samples) {
    chunk.push({ member, result: unknownResult });
    if (chunk.length < CHUNK) continue;
    await insertTogether(client, chunk);
    chunk = [];
  }
  await insertTogether(client, chunk);
  await client.query('ANALYZE nest_batching_lookup.members');
}

/** A transaction that fails is undone by closing its connection, whatever state that is in. */
async function withClient(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  // The pool listens to idle connections alone. The query under way is rejected as well; but unheard, the event would end
  // the process. A client that is closed keeps the listener: its connection may break later than its query.
  const onError = () => undefined;
  client.on('error', onError);
  try {
    await work(client);
    client.off('error', onError);
    client.release();
  } catch (error) {
    client.release(true);
    throw error;
  }
}

function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Whether it was about the values of a row: a constraint (SQLSTATE class 23), or a value that cannot be (class 22). */
function isRowAtFault(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && /^2[23]/.test(error.code ?? '');
}

function refusalOf(member: NewMember, error: pg.DatabaseError): Error {
  if (error.code === '23505') return refusal(member, 'unique', error);
  if (error.code === '23514') return refusal(member, 'check', error);
  return refusal(member, 'other', error);
}

function failure(cause: unknown, advice: string): ApiError {
  new Logger(PostgresDatabase.name).error(`A batch failed: ${wordsOf(cause)}`);
  return databaseError(`The database failed, for the whole batch. ${advice}`, cause);
}

/** Refused connections to several addresses come as an AggregateError without a message. */
function wordsOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(wordsOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
