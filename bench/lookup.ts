import { strict as assert } from 'node:assert';
import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Test } from '@nestjs/testing';
import { getBatchedToken } from 'nest-batching';
import type * as AppModuleFile from '../apps/lookup/src/app.module.js';
import type * as ConfigurationFile from '../apps/lookup/src/configuration.js';
import type * as CreateAppFile from '../apps/lookup/src/create-app.js';
import type { Member, NewMember } from '../apps/lookup/src/members/member.js';
import type { MemberDatabase } from '../apps/lookup/src/members/member-database.js';
import type * as MemberDirectoryFile from '../apps/lookup/src/members/member-directory.js';
import { hasPostgres, PostgresServer } from '../test/postgres-server.js';
import type { Load, Seen } from './lookup-clients.js';
import { median, printTable, ratio } from './table.js';

const MEMBERS = 100_000;
const CLIENTS = [1, 8, 64];
/** As many without HTTP, in the server's own process: what the database gains, before HTTP takes its share of the time. */
const CALLERS = 64;
const ROUNDS = 3;
const SECONDS = 1;

// The built ones: what runs the bench cannot compile decorators with their types.
const built = '../dist/lookup/apps/lookup/src';
const { AppModule } = (await import(`${built}/app.module.js`)) as typeof AppModuleFile;
const { readConfiguration } = (await import(`${built}/configuration.js`)) as typeof ConfigurationFile;
const { openDatabase } = (await import(`${built}/create-app.js`)) as typeof CreateAppFile;
const { MemberDirectory } = (await import(
  `${built}/members/member-directory.js`
)) as typeof MemberDirectoryFile;

type Configuration = ConfigurationFile.Configuration;

/** What the controller calls. */
interface Members {
  findById(id: number): Promise<Member | null>;
  add(member: NewMember): Promise<Member>;
}

/** What stands between the controller and the database; nothing means the app as it is, with its queues. */
const contenders: Record<string, ((database: MemberDatabase) => Members) | undefined> = {
  batched: undefined,
  /** What a batcher gives that does not look at the event loop. */
  'on process.nextTick': (database) => ({
    findById: onNextTick(async (ids: number[]) => {
      const members = await database.find([...new Set(ids)]);
      return ids.map((id) => members.find((member) => member.id === id) ?? null);
    }),
    add: onNextTick(async (members: NewMember[]) => (await database.insert(members)).map(toResult)),
  }),
  single: (database) => ({
    findById: async (id) => (await database.find([id]))[0] ?? null,
    add: async (member) => toResult((await database.insert([member]))[0]),
  }),
};

/**
 * The lookup app over HTTP: clients that each send their next request when the answer is there, from a process of their
 * own, reading members or adding them.
 */
export async function benchLookup(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-lookup-'));
  const clients = fork(new URL('lookup-clients.ts', import.meta.url), { execArgv: ['--import', 'tsx'] });
  // With its data safe on disk, as it is installed.
  const postgres = hasPostgres('lookups and inserts in PostgreSQL')
    ? await PostgresServer.start()
    : undefined;
  try {
    for (const databaseUrl of postgres ? ['', postgres.url] : ['']) {
      await benchDatabase(
        readConfiguration({
          PORT: '0',
          DATABASE_URL: databaseUrl,
          DATA_FOLDER: folder,
          MEMBERS: String(MEMBERS),
        }),
        clients,
      );
    }
  } finally {
    clients.kill();
    await postgres?.stop();
    rmSync(folder, { recursive: true });
  }
}

async function benchDatabase(configuration: Configuration, clients: ChildProcess): Promise<void> {
  const counted = count(await openDatabase(configuration));
  for (const kind of ['reads', 'writes'] as const) {
    console.log(
      `\n${counted.database.name}, ${kind} over HTTP, ${MEMBERS} members, batch size ${configuration.batchSize}, ` +
        `median of ${ROUNDS} rounds of ${SECONDS} s`,
    );
    const rows = [['clients', '', 'requests/s', 'mean batch', 'p50 ms', 'p99 ms', 'batched /']];
    // Not counted: warms up the compiler and the caches.
    await compare(configuration, counted, { kind, clients: 8, seconds: 1, members: MEMBERS }, clients, 1);
    for (const count of CLIENTS) {
      const load = { kind, clients: count, seconds: SECONDS, members: MEMBERS };
      rows.push(...(await compare(configuration, counted, load, clients)));
    }
    const load = { kind, clients: CALLERS, seconds: SECONDS, members: MEMBERS };
    rows.push(...(await compare(configuration, counted, load)));
    printTable(rows);
  }
  await counted.shut();
}

type Figures = Seen & { meanBatch: number };

async function compare(
  configuration: Configuration,
  counted: Counted,
  load: Omit<Load, 'url'>,
  clients?: ChildProcess,
  roundCount = ROUNDS,
): Promise<string[][]> {
  const figures = new Map(Object.keys(contenders).map((name) => [name, [] as Figures[]]));
  for (let round = 0; round < roundCount; round++) {
    for (const [name, stand] of Object.entries(contenders)) {
      figures
        .get(name)
        ?.push(await measure(configuration, counted, stand?.(counted.database), load, clients));
    }
  }
  const ours = figures.get('batched') ?? [];
  return Array.from(figures, ([name, rounds]) => {
    const of = (key: keyof Figures) => median(rounds.map((round) => round[key]));
    const speeds = (those: readonly Figures[]) => those.map(({ perSecond }) => perSecond);
    return [
      clients ? String(load.clients) : `${load.clients} without HTTP`,
      name.padEnd(20),
      of('perSecond').toFixed(0),
      of('meanBatch').toFixed(1),
      of('p50').toFixed(0),
      of('p99').toFixed(0),
      name === 'batched' ? '' : ratio(speeds(ours), speeds(rounds)),
    ];
  });
}

async function measure(
  configuration: Configuration,
  counted: Counted,
  members: Members | undefined,
  load: Omit<Load, 'url'>,
  clients: ChildProcess | undefined,
): Promise<Figures> {
  const testing = Test.createTestingModule({ imports: [AppModule.with(configuration, counted.database)] });
  if (members) testing.overrideProvider(getBatchedToken(MemberDirectory)).useValue(members);
  const app = (await testing.compile()).createNestApplication();
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  counted.calls = counted.rows = 0;
  const seen = clients
    ? await send(clients, { ...load, url })
    : await call(app.get(getBatchedToken(MemberDirectory)), load);
  const { calls, rows } = counted;
  await app.close();
  assert.equal(seen.wrong, 0, 'a request failed or got a wrong answer');
  // Of ids that meet in a batch, equal ones are looked up once.
  if (load.kind === 'writes') assert(rows >= seen.answers, `${seen.answers} members added, ${rows} stored`);
  return { ...seen, meanBatch: rows / calls };
}

async function send(clients: ChildProcess, load: Load): Promise<Seen> {
  clients.send(load);
  const [seen] = (await once(clients, 'message')) as [Seen];
  return seen;
}

/** Callers that each ask again when the answer is there, without HTTP. */
async function call(members: Members, { kind, clients, seconds }: Omit<Load, 'url'>): Promise<Seen> {
  const start = performance.now();
  const latencies: number[] = [];
  let wrong = 0;
  const caller = async () => {
    for (let asked = start; asked < start + seconds * 1000; asked = performance.now()) {
      const id = 1 + Math.floor(Math.random() * MEMBERS);
      const email = `${randomUUID()}@example.org`;
      const isRight =
        kind === 'reads'
          ? (await members.findById(id))?.id === id
          : (await members.add({ name: 'Ada Young', email, city: 'Bern', born: 1990, joined: 2026 }))
              .email === email;
      if (!isRight) wrong++;
      latencies.push(performance.now() - asked);
    }
  };
  await Promise.all(Array.from({ length: clients }, caller));
  const perSecond = latencies.length / ((performance.now() - start) / 1000);
  const sorted = latencies.toSorted((a, b) => a - b);
  const percentile = (share: number) => sorted[Math.floor(sorted.length * share)] ?? NaN;
  return { perSecond, p50: percentile(0.5), p99: percentile(0.99), answers: latencies.length, wrong };
}

/** A database that counts what reaches it, and outlives the apps that use it. */
interface Counted {
  database: MemberDatabase;
  calls: number;
  rows: number;
  shut(): Promise<void> | void;
}

function count(database: MemberDatabase): Counted {
  const counted: Counted = { database, calls: 0, rows: 0, shut: database.close.bind(database) };
  const counting =
    <Batch extends readonly unknown[], Result>(method: (batch: Batch) => Result) =>
    (batch: Batch): Result => {
      counted.calls++;
      counted.rows += batch.length;
      return method(batch);
    };
  database.find = counting(database.find.bind(database));
  database.insert = counting(database.insert.bind(database));
  database.close = () => undefined;
  return counted;
}

/** Batches formed before the event loop goes on to the next socket. */
function onNextTick<Input, Result>(run: (inputs: Input[]) => Promise<Result[]>) {
  let open: { input: Input; resolve: (result: Promise<Result>) => void }[] = [];
  const dispatch = () => {
    const batch = open;
    open = [];
    const results = run(batch.map(({ input }) => input));
    batch.forEach(({ resolve }, index) => {
      resolve(results.then((all) => all[index] as Result));
    });
  };
  return (input: Input): Promise<Result> =>
    new Promise((resolve) => {
      if (open.length === 0) process.nextTick(dispatch);
      open.push({ input, resolve });
    });
}

function toResult(result: Member | Error | undefined): Member {
  if (!result || result instanceof Error) throw result ?? new Error('no result');
  return result;
}
