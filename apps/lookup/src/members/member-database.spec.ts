import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import pg from 'pg';
import { kinds, newDatabase, type TestDatabase } from '../../../../test/lookup.js';
import { ApiError, StartError } from '@app/serving';
import { readConfiguration } from '../configuration.js';
import { openDatabase } from '../create-app.js';
import type { Member, NewMember } from './member.js';
import type { MemberDatabase } from './member-database.js';
import { PostgresDatabase } from './postgres-database.js';
import { sampleMembers } from './sample-members.js';
import { loadSqlite, type SqliteConnection, type SqliteDriver } from './sqlite.js';
import { SqliteDatabase } from './sqlite-database.js';

// Failures are provoked here.
Logger.overrideLogger(false);

const SAMPLES = 1000;

describe.each(kinds)('MemberDatabase on $kind', ({ kind, isHere }) => {
  const test = isHere ? it : it.skip;
  let place: TestDatabase;
  let database: MemberDatabase;

  beforeAll(async () => {
    place = await newDatabase(kind);
    database = await open(sampleMembers(SAMPLES));
  });
  afterAll(async () => {
    await database.close();
    await place.remove();
  });

  /** Opens the same database again. */
  const open = (samples: Iterable<NewMember>): Promise<MemberDatabase> => {
    const { DATABASE_URL = '', DATA_FOLDER = '' } = place.environment;
    return kind === 'SQLite'
      ? SqliteDatabase.open(`${DATA_FOLDER}/members.sqlite`, samples)
      : PostgresDatabase.open(DATABASE_URL, samples);
  };

  test('is filled with the samples, numbered from 1', async () => {
    const ids = Array.from({ length: SAMPLES }, (_, index) => index + 1);
    const members = (await database.find(ids)).toSorted((a, b) => a.id - b.id);
    expect(members).toEqual(
      [...sampleMembers(SAMPLES)].map((sample, index) => ({ id: index + 1, ...sample })),
    );
  });

  test('is filled once, and not again when it is opened again', async () => {
    const again = await open(sampleMembers(5));
    expect(await again.find([SAMPLES])).toHaveLength(1);
    await again.close();
  });

  test('finds what is there, each once, and leaves out what is not', async () => {
    const found = await database.find([7, 2_000_000_000, 3, 7]);
    expect(found.map(({ id }) => id).toSorted()).toEqual([3, 7]);
    expect(await database.find([2_000_000_000])).toEqual([]);
    expect(await database.find([])).toEqual([]);
  });

  test('finds as many as one can ask for at once', async () => {
    // More than SQLite takes as variables of a statement.
    const ids = Array.from({ length: 40_000 }, (_, index) => index + 1);
    expect(await database.find(ids)).toHaveLength(SAMPLES);
  });

  test('stores a batch and gives each its own result', async () => {
    const members = Array.from({ length: 300 }, (_, index) => member(`stored.${(index * 7) % 300}`));
    const results = (await database.insert(members)) as Member[];
    expect(results).toEqual(members.map((given) => ({ ...given, id: expect.any(Number) })));
    const ids = results.map(({ id }) => id);
    expect(new Set(ids).size).toBe(300);
    expect(byId(await database.find(ids))).toEqual(byId(results));
  });

  test('refuses the rows at fault alone, wherever they stand', async () => {
    const [taken] = await database.find([1]);
    const members = Array.from({ length: 33 }, (_, index) => member(`apart.${index}`));
    members[0] = member('too.young', { born: 2025 });
    members[15] = member('taken', { email: taken?.email ?? '' });
    members[16] = member('too.old', { born: 1800 });
    members[20] = member('between.years', { born: 1990.5 });
    members[32] = member('apart.31');
    const results = await database.insert(members);

    const errors = results.flatMap((result, index) =>
      result instanceof Error ? [[index, codeOf(result)]] : [],
    );
    expect(errors).toEqual([
      [0, 'ERR_AGE'],
      [15, 'ERR_EMAIL_TAKEN'],
      [16, 'ERR_AGE'],
      [20, 'ERR_ROW'],
      [32, 'ERR_EMAIL_TAKEN'],
    ]);
    const stored = results.filter((result): result is Member => !(result instanceof Error));
    expect(stored).toHaveLength(28);
    expect(byId(await database.find(stored.map(({ id }) => id)))).toEqual(byId(stored));
  });

  test('gives an address that two want to the first of them', async () => {
    const first = member('wanted', { name: 'First' });
    const second = member('wanted', { name: 'Second' });
    const results = await database.insert([member('zz'), first, member('aa'), second, member('mm')]);
    expect(results.map((result) => (result instanceof Error ? codeOf(result) : result.name))).toEqual([
      ...['Ada Young', 'First', 'Ada Young', 'ERR_EMAIL_TAKEN', 'Ada Young'],
    ]);
  });

  test('lets the second have it when the first is refused', async () => {
    const results = await database.insert([member('heir', { born: 2025 }), member('heir')]);
    expect(results).toMatchObject([{ status: 422 }, { email: 'heir@example.org' }]);
  });

  test.each(['undone', 'failed'] as const)('stores nothing of a batch that is %s as a whole', async (how) => {
    const members = Array.from({ length: 2000 }, (_, index) => member(`whole.${index}`));
    const repair = await breakInserts(place, 'whole.999@example.org', how);
    // One member is refused as well, so that savepoints are made.
    members[0] = member('refused', { born: 2025 });
    // Not `rejects.toThrow()`: Jest does not know the errors of an addon that an earlier spec has loaded.
    const insert = async () => database.insert(members);
    expect(
      await insert().then(
        () => 'stored',
        () => 'failed',
      ),
    ).toBe('failed');
    const after = member(`after.${how}`);
    expect(await database.insert([after])).toMatchObject([after]);
    await repair();
    const [refused, ...stored] = await database.insert(members);
    expect(refused).toMatchObject({ status: 422 });
    expect(stored).toMatchObject(members.slice(1));
    await remove(place, stored as Member[]);
  });

  test('is filled wholly or not at all', async () => {
    const other = await place.another();
    const configuration = readConfiguration({ ...other.environment, MEMBERS: '50' });
    const { databaseUrl, dataFolder } = configuration;
    const samples = (function* () {
      yield* sampleMembers(20_000);
      throw new Error('interrupted');
    })();
    const interrupted =
      kind === 'SQLite'
        ? SqliteDatabase.open(`${dataFolder}/members.sqlite`, samples)
        : PostgresDatabase.open(databaseUrl, samples);
    await expect(interrupted).rejects.toThrow('interrupted');

    // Two at the same time: one fills, the other finds it filled.
    const both = await Promise.all([openDatabase(configuration), openDatabase(configuration)]);
    for (const opened of both) {
      expect(await opened.find([1, 50, 51])).toHaveLength(2);
      await opened.close();
    }
    await other.remove();
  });

  test('bears another process that wants the same addresses at the same time, in another order', async () => {
    const other = await open([]);
    // Slowly, so that they meet.
    const repair = await breakInserts(place, 'both.%', 'slowly');
    const members = Array.from({ length: 12 }, (_, index) => member(`both.${(index * 5) % 12}`));
    const [ours, theirs] = await Promise.all([database.insert(members), other.insert(members.toReversed())]);
    await repair();
    const winners = members.map((_, index) =>
      [ours[index], theirs[11 - index]].filter((result) => !(result instanceof Error)),
    );
    expect(winners.filter(({ length }) => length !== 1)).toEqual([]);
    await other.close();
  });
});

(kinds[0].isHere ? describe : describe.skip)(
  'MemberDatabase on SQLite, when its file cannot be used,',
  () => {
    let folder: string;
    let file: string;
    let Driver: SqliteDriver;
    let database: SqliteDatabase | undefined;
    /** What the database has opened last. */
    let connection: () => SqliteConnection;
    let startWait = '10000';

    beforeEach(async () => {
      folder = mkdtempSync(join(tmpdir(), 'lookup-sqlite-'));
      file = join(folder, 'members.sqlite');
      Driver = await loadSqlite();
      // eslint-disable-next-line @typescript-eslint/unbound-method
      const { exec } = Driver.prototype as SqliteConnection;
      const spy = jest.spyOn(Driver.prototype as SqliteConnection, 'exec');
      spy.mockImplementation(function (this: SqliteConnection, sql) {
        return exec.call(this, sql.replace('busy_timeout = 10000', `busy_timeout = ${startWait}`));
      });
      connection = () => spy.mock.contexts.at(-1) as SqliteConnection;
    });
    const close = () => {
      database?.close();
      database = undefined;
    };
    afterEach(() => {
      jest.restoreAllMocks();
      close();
      startWait = '10000';
      rmSync(folder, { recursive: true });
    });

    /** Opens the database, and returns the connection that it made as well. */
    const open = async (count = 100): Promise<[SqliteDatabase, SqliteConnection]> => {
      database = await SqliteDatabase.open(file, sampleMembers(count));
      return [database, connection()];
    };

    it('SQLITE_BUSY: waits for the lock of another program without blocking lookups', async () => {
      const [database] = await open();
      const other = new Driver(file);
      other.exec('BEGIN IMMEDIATE');
      let isSettled = false;
      const inserted = database.insert([member('late')]).finally(() => (isSettled = true));
      expect(await database.find([1])).toHaveLength(1);
      expect(isSettled).toBe(false);
      other.exec('ROLLBACK');
      expect(await inserted).toMatchObject([{ email: 'late@example.org' }]);
      other.close();
    });

    it('SQLITE_BUSY: refuses the batch with 503 when the lock is not given up, and goes on', async () => {
      const [database] = await open();
      const other = new Driver(file);
      other.exec('BEGIN IMMEDIATE');
      const refused = database.insert([member('busy')]);
      await expect(refused).rejects.toMatchObject({ status: 503, retryAfter: 1 });
      await expect(refused).rejects.toThrow(
        'Another program has locked the database for more than 500 ms. Nothing was stored: try again.',
      );
      expect(await database.find([1])).toHaveLength(1);
      other.exec('ROLLBACK');
      other.close();
      expect(await database.insert([member('busy')])).toMatchObject([{ email: 'busy@example.org' }]);
    });

    it.each([
      ['SQLITE_FULL: refuses', 'PRAGMA max_page_count = 1', 'PRAGMA max_page_count = 1000000'],
      ['SQLITE_READONLY: refuses', 'PRAGMA query_only = 1', 'PRAGMA query_only = 0'],
    ])('%s a batch with 503, stores nothing of it, and goes on', async (_, fault, repair) => {
      const [database, connection] = await open();
      const members = Array.from({ length: 500 }, (_, index) => member(`full.${index}`));
      connection.exec(fault);
      const refused = database.insert(members);
      await expect(refused).rejects.toMatchObject({ status: 503, retryAfter: 1 });
      await expect(refused).rejects.toThrow('Nothing was stored: try again.');
      expect(await database.find([1])).toHaveLength(1);
      connection.exec(repair);
      expect(await database.insert(members)).toMatchObject(members);
    });

    it('SQLITE_CORRUPT: answers 503 for the members on a damaged page alone', async () => {
      await open(20_000);
      close();
      // Of the pages that hold members; those with their addresses are after them.
      damage(1_000_000);
      const [database] = await open();
      const ids = Array.from({ length: 20_000 }, (_, index) => index + 1);
      const refused = database.find(ids);
      await expect(refused).rejects.toMatchObject({ status: 503, retryAfter: 1 });
      expect(await database.find([1])).toHaveLength(1);
    });

    const damage = (from: number) => {
      const handle = openSync(file, 'r+');
      writeSync(handle, Buffer.alloc(8192, 'x'), 0, 8192, from);
      closeSync(handle);
    };

    it.each<[string, () => SqliteConnection | undefined, RegExp]>([
      [
        'is no database',
        () => {
          writeFileSync(file, 'id,name,email\n'.repeat(100));
        },
        /members\.sqlite is not a SQLite database: file is not a database\.\nMove it away, or set DATA_FOLDER to /,
      ],
      [
        'is a folder',
        () => {
          mkdirSync(file);
          return undefined;
        },
        /members\.sqlite cannot be opened and written: .+\.\nAllow it for /,
      ],
      [
        'is in a folder that cannot be made',
        () => {
          writeFileSync(join(folder, 'taken'), '');
          file = join(folder, 'taken', 'members.sqlite');
        },
        /members\.sqlite cannot be opened and written: (EEXIST|ENOTDIR).+\.\nAllow it for /,
      ],
      [
        'has a table of other columns',
        () => {
          return sql('CREATE TABLE members (id INTEGER PRIMARY KEY, title TEXT)');
        },
        /a table "members" that is not the lookup's: expected born INTEGER, .+; found id INTEGER PRIMARY KEY, title TEXT\./,
      ],
      [
        'has a table whose addresses are not unique',
        () => {
          return sql(`CREATE TABLE members (id INTEGER PRIMARY KEY, name TEXT, email TEXT, city TEXT, born INTEGER,
             joined INTEGER, UNIQUE (email, name))`);
        },
        /that is not the lookup's: expected .+, UNIQUE \(email\); found .+, name TEXT\.\nMove the file away/,
      ],
      [
        'is locked',
        () => {
          startWait = '1';
          return sql('CREATE TABLE other (id); BEGIN IMMEDIATE');
        },
        /members\.sqlite is locked by another program for more than 10 s: .+\.\nStop that program/,
      ],
    ])('does not start with a file that %s, and says what to do', async (_, prepare, expected) => {
      const other = prepare();
      const opened = open();
      await expect(opened).rejects.toThrow(expected);
      await expect(opened).rejects.toBeInstanceOf(StartError);
      other?.close();
    });

    it.each<[string, () => void]>([
      [
        'damaged',
        () => {
          // The root of the table, on the second page.
          damage(4096);
        },
      ],
      [
        'cut off',
        () => {
          truncateSync(file, 1_000_000);
        },
      ],
    ])('does not start with a file that is %s, and says what to do', async (_, spoil) => {
      await open(20_000);
      close();
      spoil();
      await expect(open()).rejects.toThrow(/members\.sqlite is damaged: .+\.\nPut a copy back, move it away/);
    });

    /** As another program, which keeps its connection. */
    const sql = (text: string): SqliteConnection => {
      const connection = new Driver(file);
      connection.exec(text);
      return connection;
    };
  },
);

(kinds[1].isHere ? describe : describe.skip)('MemberDatabase on PostgreSQL, when it cannot be used,', () => {
  let place: TestDatabase;
  beforeAll(async () => {
    place = await newDatabase('PostgreSQL');
    const database = await PostgresDatabase.open(place.environment.DATABASE_URL ?? '', sampleMembers(1));
    await database.close();
  });
  afterAll(() => place.remove());

  it.each([
    [
      'other columns',
      'RENAME COLUMN email TO mail',
      'RENAME COLUMN mail TO email',
      /found .+, mail text UNIQUE, /,
    ],
    [
      'addresses that are not unique',
      'DROP CONSTRAINT members_email_key',
      'ADD UNIQUE (email)',
      /found .+, email text, id integer/,
    ],
    [
      'numbers that it does not give itself',
      'ALTER id DROP IDENTITY',
      'ALTER id ADD GENERATED ALWAYS AS IDENTITY',
      /found .+, id integer PRIMARY KEY, /,
    ],
  ])('does not start with a table of %s, and says what to do', async (_, fault, repair, found) => {
    const url = place.environment.DATABASE_URL ?? '';
    await runSql(place, `ALTER TABLE nest_batching_lookup.members ${fault}`);
    const opened = PostgresDatabase.open(url, []);
    await expect(opened).rejects.toThrow(
      /^the table nest_batching_lookup\.members is not the lookup's: expected born /,
    );
    await expect(opened).rejects.toThrow(found);
    await expect(opened).rejects.toThrow('set DATABASE_URL to another database');
    await expect(opened).rejects.toBeInstanceOf(StartError);
    await runSql(place, `ALTER TABLE nest_batching_lookup.members ${repair}`);
    const database = await PostgresDatabase.open(url, []);
    expect(await database.find([1])).toHaveLength(1);
    await database.close();
  });

  it.each(['postgres://%zz', 'postgres://a:b@localhost:99999999/c'])(
    'does not start with DATABASE_URL=%s, and says what to do',
    async (url) => {
      await expect(PostgresDatabase.open(url, [])).rejects.toThrow(
        /^PostgreSQL cannot be used as DATABASE_URL says: .+\nCheck that/,
      );
    },
  );
});

/** Lets the insert of such addresses go wrong, as if it were the database's fault; returns what puts it right. */
async function breakInserts(
  place: TestDatabase,
  email: string,
  how: 'undone' | 'failed' | 'slowly',
): Promise<() => Promise<void>> {
  if (place.server) {
    const body = {
      undone: 'PERFORM pg_terminate_backend(pg_backend_pid());',
      failed: "RAISE SQLSTATE '53100';",
      slowly: 'PERFORM pg_sleep(0.02);',
    };
    await runSql(
      place,
      `CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body[how]} RETURN NEW; END $$;
       CREATE TRIGGER fault BEFORE INSERT ON nest_batching_lookup.members FOR EACH ROW
       WHEN (NEW.email LIKE '${email}') EXECUTE FUNCTION fault()`,
    );
    return () => runSql(place, 'DROP FUNCTION fault CASCADE');
  }
  // The first undoes the transaction by itself, as a full disk may. Nothing is slow: one writes at a time.
  const body = { undone: "RAISE(ROLLBACK, 'broken')", failed: 'abs(-9223372036854775807 - 1)', slowly: '1' };
  await runSql(
    place,
    `CREATE TRIGGER fault BEFORE INSERT ON members WHEN NEW.email LIKE '${email}' BEGIN SELECT ${body[how]}; END`,
  );
  return () => runSql(place, 'DROP TRIGGER fault');
}

async function remove(place: TestDatabase, members: readonly Member[]): Promise<void> {
  const table = place.server ? 'nest_batching_lookup.members' : 'members';
  await runSql(place, `DELETE FROM ${table} WHERE id IN (${members.map(({ id }) => id).join()})`);
}

/** As another client of the same database. */
async function runSql({ server, environment }: TestDatabase, sql: string): Promise<void> {
  if (server) {
    const client = new pg.Client(environment.DATABASE_URL);
    await client.connect();
    await client.query(sql);
    await client.end();
  } else {
    const Driver = await loadSqlite();
    const database = new Driver(`${environment.DATA_FOLDER ?? ''}/members.sqlite`);
    database.exec(sql);
    database.close();
  }
}

function member(name: string, changes: Partial<NewMember> = {}): NewMember {
  const whole = { name: 'Ada Young', email: `${name}@example.org`, city: 'Bern', born: 1990, joined: 2026 };
  return { ...whole, ...changes };
}

function codeOf(error: Error): unknown {
  return error instanceof ApiError ? (error.getResponse() as { code: string }).code : error;
}

function byId(members: readonly Member[]): Member[] {
  return members.toSorted((a, b) => a.id - b.id);
}
