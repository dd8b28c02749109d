import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { kinds, newDatabase, startLookup, type TestDatabase } from './lookup.js';
import { describesItself, Reference } from './reference.js';

const kind = kinds.find(({ isHere }) => isHere)?.kind;

(kind ? describe : describe.skip)('The reference of the lookup', () => {
  let database: TestDatabase;
  let app: INestApplication;
  let url: string;
  let reference: Reference;
  beforeAll(async () => {
    database = await newDatabase(kind ?? 'SQLite');
    ({ app, url } = await startLookup({ ...database.environment, MEMBERS: '5000' }));
    reference = await Reference.of(url);
  });
  afterAll(async () => {
    await app.close();
    await database.remove();
  });

  describesItself(() => reference);

  // In this order: the numbers are those after a look, and a receipt, which looks too.
  it.each([
    ['get /members/{id}', 200, {}],
    ['post /members/{id}/receipts', 201, {}],
    [
      'get /numbers',
      200,
      {
        database: expect.stringMatching(/^(SQLite|PostgreSQL) \d/),
        members: 5000,
        sql: expect.stringContaining('SELECT'),
      },
    ],
    ['post /members', 201, { id: 5001, joined: new Date().getFullYear() }],
    ['get /health/ready', 200, {}],
  ])('gives an example of %s, which is answered as it says', async (name, status, other) => {
    const answer = await reference.send(name);
    expect(answer.status).toBe(status);
    const body = await answer.json();
    expect(reference.complaints(name, status, body)).toBeUndefined();
    expect(body).toEqual({ ...(reference.example(name, status) as object), ...other });
  });

  it('documents every route, with its errors', () => {
    const routes = reference.routes.map(
      ({ method, path, responses }) => `${method} ${path}: ${Object.keys(responses).join(' ')}`,
    );
    expect(routes.toSorted()).toEqual([
      'get /health/ready: 200 500 503',
      'get /members/{id}: 200 400 404 500 503',
      'get /metrics: 200 500',
      'get /numbers: 200 500',
      'post /members/{id}/receipts: 201 400 404 500 503',
      'post /members: 201 400 409 413 415 422 500 503',
    ]);
  });

  it('has an error of every kind as it comes', async () => {
    const ada = { name: 'Ada Young', email: 'ada@example.org', city: 'Bern' };
    const seen = new Map<string, unknown>();
    const see = async (name: string, asked: Promise<Response>) => {
      const answer = await asked;
      const given = (await answer.json()) as { code?: string };
      seen.set(`${name}: ${[answer.status, ...(given.code ? [given.code] : [])].join(' ')}`, given);
    };
    const add = (body: string, type = 'application/json') =>
      see(
        'post /members',
        fetch(`${url}/members`, { method: 'POST', body, headers: { 'content-type': type } }),
      );
    await add(JSON.stringify({ ...ada, born: '1990' }));
    await add('Ada');
    await add('Ada', 'text/plain');
    await add(' '.repeat(200_000));
    await add(JSON.stringify({ ...ada, born: 1990 }));
    await add(JSON.stringify({ ...ada, email: 'old@example.org', born: 1890 }));
    for (const id of ['ten', '200000']) {
      await see('get /members/{id}', fetch(`${url}/members/${id}`));
      const receipt = fetch(`${url}/members/${id}/receipts`, { method: 'POST' });
      await see('post /members/{id}/receipts', receipt);
    }
    const shown = new Map<string, unknown>(
      reference.routes.flatMap(({ method, path }) =>
        Array.from(
          reference.errors(`${method} ${path}`),
          ([code, value]) => [`${method} ${path}: ${code}`, value] as const,
        ),
      ),
    );
    const age = /joining in \d+ makes \d+\.$/;
    const timeless = (error: unknown) => JSON.parse(JSON.stringify(error).replace(age, '')) as unknown;
    for (const [code, given] of seen)
      expect([code, timeless(shown.get(code))]).toEqual([code, timeless(given)]);
    // Other specs see these come: of a database that fails, and of a server that ends or has a fault.
    const others = /ERR_(DATABASE|RECEIPT|BATCHING_STOPPED|NOT_READY|INTERNAL)$/;
    expect([...shown.keys()].filter((code) => !seen.has(code) && !others.test(code))).toEqual([]);
  });
});
