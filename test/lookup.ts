import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type INestApplication, Logger } from '@nestjs/common';
import { readConfiguration } from '../apps/lookup/src/configuration.js';
import { createApp } from '../apps/lookup/src/create-app.js';
import { loadSqlite } from '../apps/lookup/src/members/sqlite.js';
import { hasPostgres, PostgresServer } from './postgres-server.js';

/** A database for a test: what to tell the application, and what to tidy up. */
export interface TestDatabase {
  /** DATABASE_URL and DATA_FOLDER. */
  environment: Record<string, string>;
  /** The server, where it is PostgreSQL's. */
  server: PostgresServer | undefined;
  /** Another one, on the same server. */
  another(): Promise<TestDatabase>;
  remove(): Promise<void>;
}

/** The kinds of database that the application can use, and whether they can be tested here; says loudly if not. */
export const kinds = [
  { kind: 'SQLite', isHere: await hasSqlite() },
  { kind: 'PostgreSQL', isHere: hasPostgres('the lookup application on PostgreSQL') },
] as const;

/** A new and empty one. */
export async function newDatabase(kind: 'SQLite' | 'PostgreSQL'): Promise<TestDatabase> {
  if (kind === 'SQLite') return place(undefined, '', () => Promise.resolve());
  // What the tests store need not survive a power cut.
  const server = await PostgresServer.start(['fsync=off']);
  return place(server, server.url, () => server.stop());
}

function place(
  server: PostgresServer | undefined,
  databaseUrl: string,
  stop: () => Promise<void>,
): TestDatabase {
  const folder = mkdtempSync(join(tmpdir(), 'lookup-'));
  return {
    environment: { DATA_FOLDER: folder, DATABASE_URL: databaseUrl },
    server,
    another: async () => place(server, (await server?.newDatabase()) ?? '', () => Promise.resolve()),
    remove: async () => {
      await stop();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Starts the application in this process, on any free port unless one is given. */
export async function startLookup(
  environment: Record<string, string>,
  wanted = 0,
): Promise<{ app: INestApplication; url: string }> {
  const app = await createApp(readConfiguration({ PORT: '0', MEMBERS: '1000', ...environment }));
  // Tests provoke errors and look at what is logged.
  Logger.overrideLogger(false);
  await app.listen(wanted, '127.0.0.1');
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  return { app, url: `http://127.0.0.1:${port}` };
}

async function hasSqlite(): Promise<boolean> {
  try {
    await loadSqlite();
    return true;
  } catch {
    process.stderr.write(
      'SKIPPED: the lookup application on SQLite: neither node:sqlite nor better-sqlite3 is here\n',
    );
    return false;
  }
}
