import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import pg from 'pg';
import { kinds, newDatabase, type TestDatabase } from '../../../../test/lookup.js';
import { ApiError } from '../api-error.js';
import { readConfiguration } from '../configuration.js';
import { openDatabase } from '../create-app.js';
import type { Member, NewMember } from './member.js';
import type { MemberDatabase } from './member-database.js';
import { PostgresDatabase } from './postgres-database.js';
import { sampleMembers } from './sample-members.js';
import { SqliteDatabase } from './sqlite-database.js';

// A busy machine may be ten times as slow as an idle one.
jest.setTimeout(60_000);
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
    // Somebody is refused as well, whom a savepoint is made for.
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
    const { default: Database } = await import('better-sqlite3');
    const database = new Database(`${environment.DATA_FOLDER ?? ''}/members.sqlite`);
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
