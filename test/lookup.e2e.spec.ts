import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, type OutgoingHttpHeaders, request, STATUS_CODES } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { type Batched, BatchingRegistry, getBatchedToken } from 'nest-batching';
import pg from 'pg';
import { readConfiguration } from '../apps/lookup/src/configuration.js';
import { openDatabase } from '../apps/lookup/src/create-app.js';
import type { Member } from '../apps/lookup/src/members/member.js';
import { MemberDirectory } from '../apps/lookup/src/members/member-directory.js';
import { sampleMembers } from '../apps/lookup/src/members/sample-members.js';
import { loadSqlite } from '../apps/lookup/src/members/sqlite.js';
import { AppProcess } from './app-process.js';
import { type Answer, connections, send } from './http.js';
import { kinds, newDatabase, startLookup, type TestDatabase } from './lookup.js';

const MEMBERS = 1000;
const samples = [...sampleMembers(MEMBERS)].map((sample, index) => ({ id: index + 1, ...sample }));
const thisYear = new Date().getFullYear();
const grace = { name: 'Grace Park', city: 'Oulu', born: 1990 };

describe.each(kinds)('The lookup application on $kind', ({ kind, isHere }) => {
  const test = isHere ? it : it.skip;
  let place: TestDatabase;
  beforeAll(async () => {
    place = await newDatabase(kind);
  });
  afterAll(() => place.remove());

  describe('over HTTP', () => {
    let app: INestApplication;
    let url: string;
    beforeAll(async () => {
      const { DATABASE_URL = '' } = place.environment;
      const impatient = DATABASE_URL && `${DATABASE_URL}?statement_timeout=500`;
      ({ app, url } = await startLookup({ ...place.environment, DATABASE_URL: impatient }));
    });
    afterAll(async () => {
      agent.destroy();
      await app.close();
    });

    /** What the queue did while `work` was done. */
    const countedBy = async (queue: string, work: () => Promise<unknown>) => {
      const stats = () => app.get(BatchingRegistry).get(queue).stats();
      const before = stats();
      await work();
      const after = stats();
      return { inputs: after.settled - before.settled, batches: after.batches - before.batches };
    };

    test('gives each of many callers their own member, or 404, in few statements', async () => {
      // Some ids are asked for twice, some do not exist.
      const ids = Array.from({ length: 400 }, (_, index) => 1 + ((index * 37) % 200) * 6);
      // The connections are not counted.
      await Promise.all(ids.map((id) => get(`${url}/members/${id}`)));
      const { inputs, batches } = await countedBy('MemberDirectory.findById', async () => {
        const answers = await Promise.all(ids.map((id) => get(`${url}/members/${id}`)));
        for (const [index, id] of ids.entries()) {
          expect(answers[index]).toEqual(
            id <= MEMBERS
              ? { status: 200, body: samples[id - 1] }
              : {
                  status: 404,
                  body: {
                    statusCode: 404,
                    error: 'Not Found',
                    message: `There is no member ${id}. Members are numbered from 1; POST /members adds one and tells its number.`,
                    code: 'ERR_NO_SUCH_MEMBER',
                  },
                },
          );
        }
      });
      expect(inputs).toBe(400);
      expect(batches).toBeLessThan(100);
    });

    test('adds members together, and refuses only those at fault', async () => {
      const bodies = Array.from({ length: 90 }, (_, index) => {
        const email = `Grace.${index}@example.org`;
        if (index % 10 === 3) return { ...grace, email: samples[index]?.email };
        if (index % 10 === 7) return { ...grace, email, born: thisYear - 5 };
        return { ...grace, email };
      });
      const { inputs, batches } = await countedBy('MemberDirectory.add', async () => {
        const answers = await Promise.all(bodies.map((body) => post(`${url}/members`, body)));
        for (const [index, { status, body }] of answers.entries()) {
          const email = bodies[index]?.email?.toLowerCase();
          if (index % 10 === 3) {
            const message = `${email ?? ''} belongs to another member.`;
            expect([status, body]).toEqual([
              409,
              { statusCode: 409, error: 'Conflict', message, code: 'ERR_EMAIL_TAKEN' },
            ]);
          } else if (index % 10 === 7) {
            expect([status, body]).toMatchObject([422, { code: 'ERR_AGE' }]);
          } else {
            const member = { ...grace, email, joined: thisYear, id: (body as Member).id };
            expect([status, body]).toEqual([201, member]);
            expect(await get(`${url}/members/${member.id}`)).toEqual({ status: 200, body: member });
          }
        }
      });
      expect(inputs).toBe(90);
      expect(batches).toBeLessThan(30);
    });

    test('gives an address to one of the members that want it at the same time', async () => {
      const answers = await Promise.all(
        Array.from({ length: 30 }, (_, index) =>
          post(`${url}/members`, { ...grace, born: 1960 + index, email: 'wanted@example.org' }),
        ),
      );
      expect(answers.map(({ status }) => status).toSorted()).toEqual([201, ...Array<number>(29).fill(409)]);
      const [winner] = answers.filter(({ status }) => status === 201);
      const { id, born } = winner?.body as Member;
      expect(answers.findIndex(({ status }) => status === 201)).toBe(born - 1960);
      expect((await get(`${url}/members/${id}`)).body).toEqual(winner?.body);
    });

    test.each([
      ['ten', 'id: expected the number of a member, from 1 to 2147483647, got "ten"'],
      ['0', 'id: expected the number of a member, from 1 to 2147483647, got 0'],
      ['2147483648', 'id: expected the number of a member, from 1 to 2147483647, got 2147483648'],
      ['1.5', 'id: expected the number of a member, from 1 to 2147483647, got "1.5"'],
      ['1e3', 'id: expected the number of a member, from 1 to 2147483647, got "1e3"'],
      ['1%20OR%201', 'id: expected the number of a member, from 1 to 2147483647, got "1 OR 1"'],
    ])('refuses GET /members/%s', async (id, message) => {
      const body = invalid(message);
      expect(await get(`${url}/members/${id}`)).toEqual({ status: 400, body });
    });

    test.each([
      [{ ...grace }, 'email: expected an e-mail address of at most 200 characters, got nothing'],
      [
        { ...grace, email: 'grace' },
        'email: expected an e-mail address of at most 200 characters, got "grace"',
      ],
      [{ ...grace, email: 'a@b.c', born: '1990' }, 'born: expected a year of four digits, got "1990"'],
      [
        { ...grace, email: 'a@b.c', id: 5 },
        'id: expected no such property, only an object with name, email, city, born',
      ],
      [
        { ...grace, email: 'a@b.c', name: '', city: 'x'.repeat(101) },
        'name: expected a text of 1 to 100 characters without line breaks, got ""\n' +
          `city: expected a text of 1 to 100 characters without line breaks, got "${'x'.repeat(59)}…`,
      ],
      [
        { ...grace, email: 'a@b.c', name: 'A\u0000' },
        'name: expected a text of 1 to 100 characters without line breaks, got "A\\u0000"',
      ],
      [
        [grace],
        'expected an object with name, email, city, born, got [{"name":"Grace Park","city":"Oulu","born":1990}]',
      ],
    ])('refuses to add %j', async (given, message) => {
      const { inputs } = await countedBy('MemberDirectory.add', async () => {
        const body = invalid(message);
        expect(await post(`${url}/members`, given)).toEqual({ status: 400, body });
      });
      expect(inputs).toBe(0);
    });

    test.each<[string, Partial<typeof grace> & { email?: string }, string]>([
      [
        'node-postgres#2080: half a surrogate pair in a name',
        { name: 'half \udfff a pair' },
        'name: expected well-formed Unicode, without half a surrogate pair, got "half \\udfff a pair"',
      ],
      [
        'node-postgres#2080: half a surrogate pair in an e-mail address',
        { email: 'a\ud800@example.org' },
        'email: expected well-formed Unicode, without half a surrogate pair, got "a\\ud800@example.org"',
      ],
      [
        'half a surrogate pair in a city',
        { city: '\ud83d' },
        'city: expected well-formed Unicode, without half a surrogate pair, got "\\ud83d"',
      ],
      [
        'a name of blanks',
        { name: ' \u00a0\u2003\u3000\u200b\u2060\u3164\ufeff' },
        'name: expected a text of more than blanks, got " \u00a0\u2003\u3000\u200b\u2060\u3164\ufeff"',
      ],
      [
        'another line in a name',
        { name: 'a\u2028b' },
        'name: expected a text of 1 to 100 characters without line breaks, got "a\u2028b"',
      ],
      [
        'an address that cannot be seen as it is',
        { email: 'a\u200b@example.org' },
        'email: expected an e-mail address of at most 200 characters, got "a\u200b@example.org"',
      ],
      [
        'a name that is too long, and no half of a pair in the message',
        { name: `x${'😀'.repeat(100)}` },
        `name: expected a text of 1 to 100 characters without line breaks, got "x${'😀'.repeat(29)}…`,
      ],
    ])('refuses %s', async (_, changes, message) => {
      const given = { ...grace, email: 'a@b.c', ...changes };
      const { inputs } = await countedBy('MemberDirectory.add', async () => {
        const body = invalid(message);
        expect(await post(`${url}/members`, given)).toEqual({ status: 400, body });
      });
      expect(inputs).toBe(0);
    });

    test('stores a name of 100 characters beyond the first plane as it was sent', async () => {
      const given = { ...grace, name: '😀'.repeat(100), email: 'planes@example.org' };
      const { status, body } = await post(`${url}/members`, given);
      expect([status, body]).toMatchObject([201, given]);
      expect((await get(`${url}/members/${(body as Member).id}`)).body).toEqual(body);
    });

    test('takes addresses that differ in capitals or in how an accent was typed for the same', async () => {
      const spellings = ['Ren\u00e9@example.org', 'RENE\u0301@EXAMPLE.org', 'ren\u00c9@example.org'];
      const answers = [];
      for (const email of spellings) answers.push(await post(`${url}/members`, { ...grace, email }));
      expect(answers.map(({ status }) => status)).toEqual([201, 409, 409]);
      expect(answers[0]?.body).toMatchObject({ email: 'ren\u00e9@example.org' });
    });

    test.each(['/members/%ff', '/members/%ED%A0%80', '/members/1?x=%ED%A0%80', '/numbers?%', '/%c3'])(
      'refuses GET %s, which is not UTF-8',
      async (path) => {
        const message = 'the URL: expected percent-encoded UTF-8, got something else';
        const body = { statusCode: 400, error: 'Bad Request', message, code: 'ERR_INVALID' };
        expect(await get(`${url}${path}`)).toEqual({ status: 400, body });
      },
    );

    test.each([
      ['alone', '['.repeat(50_000) + ']'.repeat(50_000), 'city, born, got [[[[…]]]]'],
      [
        'as a name',
        `{"name":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
        'without line breaks, got [[[[…]]]]',
      ],
      [
        'as objects',
        `{"name":${'{"a":'.repeat(15_000)}1${'}'.repeat(15_000)}}`,
        'without line breaks, got {"a":{"a":{"a":{…}}}}',
      ],
      ['without an end', '['.repeat(50_000), 'JSON'],
    ])('refuses JSON that is nested 50,000 deep, %s', async (_, given, message) => {
      const answer = await sendTo('/members', given, { 'content-type': 'application/json' });
      expect(answer).toMatchObject({
        status: 400,
        body: { statusCode: 400, error: 'Bad Request', message: expect.stringContaining(message) },
      });
    });

    test('refuses a long text that is almost an address without trying all of its dots', async () => {
      const email = `a@b${'.b'.repeat(40_000)} `;
      expect(await post(`${url}/members`, { ...grace, email })).toMatchObject({ status: 400 });
    });

    test.each([
      ['a form', 'application/x-www-form-urlencoded', 'name=Grace'],
      ['a text', 'text/plain;charset=UTF-8', JSON.stringify(grace)],
      ['a binary', 'application/octet-stream', JSON.stringify(grace)],
      ['a patch', 'application/json-patch+json', '[]'],
      ['something without a type', undefined, JSON.stringify(grace)],
    ])('refuses a body that is %s', async (_, type, given) => {
      for (const path of ['/members', '/members/1/receipts']) {
        const { status, body } = await sendTo(
          path,
          given,
          type === undefined ? {} : { 'content-type': type },
        );
        const got = type?.replace(/;.*/, '') ?? 'none';
        expect([status, body]).toEqual([
          415,
          {
            statusCode: 415,
            error: 'Unsupported Media Type',
            message: `expected a body with Content-Type application/json, got ${got}`,
            code: 'ERR_BODY_TYPE',
          },
        ]);
      }
    });

    test.each([
      [400, 'bytes that are not UTF-8', Buffer.from('{"name":"\xff"}', 'latin1'), {}],
      [413, 'more than 100 KB', ' '.repeat(200_000), {}],
      [415, 'another charset', '{}', { 'content-type': 'application/json; charset=latin1' }],
      [415, 'an unknown encoding', '{}', { 'content-encoding': 'x' }],
    ])('answers %i to a body of %s', async (status, _, given, headers) => {
      const answer = await sendTo('/members', given, { 'content-type': 'application/json', ...headers });
      const body = { statusCode: status, error: STATUS_CODES[status], message: expect.any(String) };
      expect(answer).toMatchObject({ status, body });
    });

    test('limits what the page may load, and does not name the server software', async () => {
      for (const path of ['/', '/members/1', '/members/x', '/numbers', '/nowhere', '/%ff']) {
        const { headers } = await send(`${url}${path}`, { agent });
        expect(headers['content-security-policy']).toMatch(
          /^default-src 'self';img-src 'self' data:;object-src /,
        );
        expect(headers['x-content-type-options']).toBe('nosniff');
        expect(headers['x-powered-by']).toBeUndefined();
      }
    });

    test('refuses what is no JSON', async () => {
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(`${url}/members`, { method: 'POST', headers, body: '{"name":' });
      expect(response.status).toBe(400);
    });

    test('numbers receipts without a gap, however many pay at the same time', async () => {
      const answers = await Promise.all(
        Array.from({ length: 60 }, (_, index) =>
          post(`${url}/members/${index % 3 === 0 ? 999_999 : index}/receipts`),
        ),
      );
      for (const [index, { status, body }] of answers.entries()) {
        if (index % 3 === 0) expect([status, body]).toMatchObject([404, { code: 'ERR_NO_SUCH_MEMBER' }]);
        else expect([status, body]).toMatchObject([201, { member: index }]);
      }
      const numbers = answers.flatMap(({ body }) => (body as { receipt?: number }).receipt ?? []);
      expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
    });

    test('has metrics of its queues', async () => {
      const text = await (await fetch(`${url}/metrics`)).text();
      expect(text).toMatch(/^batching_submitted_total\{queue="MemberDirectory\.findById"\} \d+$/m);
      expect(text).toMatch(/^batching_slo_seconds\{queue="MemberDirectory\.add"\} 0\.1$/m);
    });

    test('has a page, and the numbers that it shows', async () => {
      const page = await fetch(url);
      expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(await page.text()).toContain('<title>Members of the library</title>');
      const { body } = (await get(`${url}/numbers`)) as { body: Numbers };
      expect(body.database).toMatch(kind === 'SQLite' ? /^SQLite 3\.\d+/ : /^PostgreSQL \d+/);
      const [find] = body.queues;
      expect(body.queues.map(({ queue }) => queue)).toEqual([
        ...['MemberDirectory.findById', 'MemberDirectory.add', 'ReceiptCounter.next'],
      ]);
      expect(find?.saved).toBe((find?.requests ?? 0) - (find?.batches ?? 0));
      expect(find?.meanBatch).toBeCloseTo((find?.requests ?? 0) / (find?.batches ?? 0), 0);
    });

    test('has a queue that suits the database', () => {
      const { options } = app.get(BatchingRegistry).get('MemberDirectory.findById').stats();
      expect(options).toMatchObject({ batchSize: 256, concurrency: kind === 'SQLite' ? 1 : 2 });
    });

    /** A body as it is. */
    const sendTo = async (path: string, given: string | Buffer, headers: OutgoingHttpHeaders) => {
      const { status, body } = await send(`${url}${path}`, { agent, method: 'POST', headers }, given);
      return { status, body: JSON.parse(body) as unknown };
    };

    test('numbers a receipt for an empty body of any type', async () => {
      const before = await sendTo('/members/1/receipts', '', { 'content-type': 'text/plain' });
      const chunked = await sendTo('/members/1/receipts', '', { 'transfer-encoding': 'chunked' });
      expect([before.status, chunked.status]).toEqual([201, 201]);
      const { receipt } = before.body as { receipt: number };
      expect(chunked.body).toEqual({ receipt: receipt + 1, member: 1 });
    });

    if (kind === 'SQLite') {
      test('SQLITE_BUSY: says when to try again to writers while another program holds the lock', async () => {
        const Driver = await loadSqlite();
        const other = new Driver(join(place.environment.DATA_FOLDER ?? '', 'members.sqlite'));
        other.exec('BEGIN IMMEDIATE');
        const added = post(`${url}/members`, { ...grace, email: 'busy@example.org' });
        expect(await get(`${url}/members/1`)).toEqual({ status: 200, body: samples[0] });
        expect(await added).toMatchObject({ status: 503, retryAfter: '1', body: { code: 'ERR_DATABASE' } });
        other.exec('ROLLBACK');
        other.close();
        expect((await post(`${url}/members`, { ...grace, email: 'busy@example.org' })).status).toBe(201);
      });
    }

    if (kind === 'PostgreSQL') {
      test('does not wait for ever for a locked table', async () => {
        const client = new pg.Client(place.environment.DATABASE_URL);
        await client.connect();
        await client.query('BEGIN; LOCK TABLE nest_batching_lookup.members IN ACCESS EXCLUSIVE MODE');
        const answers = await Promise.all([
          get(`${url}/members/1`),
          post(`${url}/members`, { ...grace, email: 'locked@example.org' }),
        ]);
        for (const answer of answers) {
          expect(answer).toMatchObject({ status: 503, retryAfter: '1', body: { code: 'ERR_DATABASE' } });
        }
        await client.end();
        expect(await get(`${url}/members/1`)).toEqual({ status: 200, body: samples[0] });
        expect((await post(`${url}/members`, { ...grace, email: 'locked@example.org' })).status).toBe(201);
      });

      test('answers every caller when the server is gone, and goes on when it is back', async () => {
        await place.server?.pause();
        const answers = await Promise.all([
          ...[1, 2, 3].map((id) => get(`${url}/members/${id}`)),
          post(`${url}/members`, { ...grace, email: 'outage@example.org' }),
        ]);
        for (const answer of answers) {
          expect(answer).toMatchObject({ status: 503, retryAfter: '1', body: { code: 'ERR_DATABASE' } });
        }
        await place.server?.resume();
        expect(await get(`${url}/members/1`)).toEqual({ status: 200, body: samples[0] });
        expect((await post(`${url}/members`, { ...grace, email: 'outage@example.org' })).status).toBe(201);
      });
    }
  });

  test('answers the callers that still wait when it is closed', async () => {
    const { app } = await startLookup({ ...place.environment, BATCH_SIZE: '2' });
    const members = app.get<Batched<MemberDirectory>>(getBatchedToken(MemberDirectory));
    const found = members.findById.submitMany(samples.map(({ id }) => id));
    const added = members.add.submitMany(
      samples.slice(0, 20).map((sample) => ({ ...sample, email: `late.${sample.email}` })),
    );
    const closed = app.close();
    expect(await Promise.all(found)).toEqual(samples);
    expect((await Promise.all(added)).map(({ email }) => email)).toContain('late.lina.becker.1@example.org');
    await closed;
  });

  describe('as a process', () => {
    const started: AppProcess[] = [];
    const start = (environment: Record<string, string>, ...nodeOptions: string[]) => {
      const lookup = new AppProcess('lookup', environment, nodeOptions);
      started.push(lookup);
      return lookup;
    };
    afterEach(async () => {
      for (const lookup of started) {
        lookup.kill('SIGKILL');
        await lookup.exit;
      }
    });

    test('starts twice at the same time on a new database, which is filled once', async () => {
      const other = await place.another();
      const environment = { ...other.environment, MEMBERS: '20000' };
      const both = [start(environment), start(environment)];
      for (const lookup of both) {
        const url = await lookup.listening();
        expect((await get(`${url}/members/20000`)).status).toBe(200);
        expect((await get(`${url}/members/20001`)).status).toBe(404);
      }
      expect(both.filter(({ output }) => output.includes('Filled the new database with 20000'))).toHaveLength(
        1,
      );
      await other.remove();
    });

    if (kind === 'PostgreSQL') {
      const connect = async (url = '') => {
        const client = new pg.Client(url);
        client.on('error', () => undefined);
        await client.connect();
        return client;
      };

      test.each([
        ['is ended', undefined],
        ['breaks with its server', 'SIGQUIT'],
      ] as const)(
        'node-postgres#2080: survives a connection that %s while a batch runs on it',
        async (_, signal) => {
          const other = await place.another();
          const lookup = start({ ...other.environment, MEMBERS: '10' });
          const url = await lookup.listening();
          const { DATABASE_URL } = other.environment;
          const [locking, watching] = [await connect(DATABASE_URL), await connect(DATABASE_URL)];
          await locking.query('BEGIN; LOCK TABLE nest_batching_lookup.members IN ACCESS EXCLUSIVE MODE');
          const answers = [
            post(`${url}/members`, { ...grace, email: 'end@example.org' }),
            get(`${url}/members/1`),
          ];
          const waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
          while ((await watching.query(waiting)).rowCount !== 2) await sleep(10);

          if (signal) await place.server?.pause(signal);
          else await watching.query(`SELECT pg_terminate_backend(pid) FROM (${waiting}) AS waiting`);
          for (const answer of await Promise.all(answers)) {
            expect(answer).toMatchObject({ status: 503, retryAfter: '1', body: { code: 'ERR_DATABASE' } });
          }
          await locking.end();
          await watching.end();
          if (signal) await place.server?.resume();

          expect(await get(`${url}/members/1`)).toMatchObject({ status: 200 });
          const added = await post(`${url}/members`, { ...grace, email: 'end@example.org' });
          expect(added).toMatchObject({ status: 201 });
          await other.remove();
        },
      );
    }

    test('waits for a body that is still on its way, and for nothing else', async () => {
      const lookup = start({ ...place.environment });
      const body = JSON.stringify({ ...grace, email: 'slow@example.org' });
      // Its client would keep the connection for more.
      const headers = { 'content-type': 'application/json', 'content-length': body.length };
      const upload = request(`${await lookup.listening()}/members`, { agent, method: 'POST', headers });
      upload.write(body.slice(0, 10));
      await sleep(100);
      lookup.kill('SIGTERM');
      await sleep(200);
      const resumed = performance.now();
      upload.end(body.slice(10));
      const [response] = (await once(upload, 'response')) as [IncomingMessage];
      response.resume();
      expect(response.statusCode).toBe(201);
      expect(response.headers.connection).toBe('close');
      expect(await lookup.exit).toEqual({ code: null, signal: 'SIGTERM' });
      expect(performance.now() - resumed).toBeLessThan(4000);
    });

    /** See shutdown.e2e.spec.ts for when a request is accepted. */
    test('answers every accepted request after a SIGTERM in the midst of traffic, and has stored what it says', async () => {
      const other = await place.another();
      const environment = { ...other.environment, MEMBERS: '500' };
      const log = join(other.environment.DATA_FOLDER ?? '', 'requests');
      const logger = ['--import', join(import.meta.dirname, 'request-log.mjs')];
      const lookup = start({ ...environment, REQUEST_LOG: log }, ...logger);
      const { answered, ended } = traffic(await lookup.listening());
      const addedIn = () => [...answered.values()].filter((member) => member.id > 500);
      while (answered.size < 150 || addedIn().length < 30) await sleep(20);
      lookup.kill('SIGTERM');
      expect(await lookup.exit).toEqual({ code: null, signal: 'SIGTERM' });
      await ended;

      const accepted = readFileSync(log, 'utf8').trim().split('\n');
      expect(accepted.filter((id) => !answered.has(id))).toEqual([]);
      expect(answered.size).toBe(accepted.length);

      const added = addedIn();
      const database = await openDatabase(readConfiguration(environment));
      const stored = await database.find(Array.from({ length: 100_000 }, (_, index) => 501 + index));
      await database.close();
      await other.remove();
      expect(stored.toSorted((a, b) => a.id - b.id)).toEqual(added.toSorted((a, b) => a.id - b.id));
    });
  });
});

it('The lookup application answers connections beyond its limit with 503', async () => {
  const place = await newDatabase('SQLite');
  const { app, url } = await startLookup({ ...place.environment, MAX_CONNECTIONS: '2' });
  const idle = await Promise.all(
    [0, 1].map(async () => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      await once(socket, 'connect');
      return socket;
    }),
  );
  const refused = await fetch(`${url}/members/1`, { headers: { connection: 'close' } });
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  for (const socket of idle) socket.destroy();
  await app.close();
  await place.remove();
});

describe('What cannot start says why, and ends with 1', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lookup-start-'));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  const start = async (environment: Record<string, string>, ...nodeOptions: string[]) => {
    const lookup = new AppProcess(
      'lookup',
      { DATA_FOLDER: folder, MEMBERS: '10', ...environment },
      nodeOptions,
    );
    expect(await lookup.exit).toEqual({ code: 1, signal: null });
    return lookup.output;
  };

  it('names every variable that is wrong, with what was expected', async () => {
    expect(await start({ PORT: 'http', MEMBERS: '0', DATABASE_URL: 'localhost' })).toBe(
      'Cannot start; the environment needs a change:\n' +
        'PORT: expected an integer from 0 to 65535, got "http"\n' +
        'DATABASE_URL: expected postgres://user:password@host:port/database, or nothing for SQLite, got "localhost"\n' +
        'MEMBERS: expected an integer from 1 to 10000000, got 0\n',
    );
  });

  it('says what to do with neither node:sqlite nor better-sqlite3', async () => {
    const missing = join(folder, 'missing.mjs');
    writeFileSync(
      missing,
      `import { register } from 'node:module';
       const { getBuiltinModule } = process;
       process.getBuiltinModule = (name) => (name === 'node:sqlite' ? undefined : getBuiltinModule(name));
       register('data:text/javascript,export async function resolve(specifier, context, next) {' +
         'if (specifier === "better-sqlite3") throw new Error("Cannot find package better-sqlite3");' +
         'return next(specifier, context) }');`,
    );
    const output = await start({}, '--import', missing);
    expect(output).toMatch(
      /^Cannot start: better-sqlite3 does not work here: Cannot find package better-sqlite3\n/,
    );
    expect(output).toContain('npm rebuild better-sqlite3');
    expect(output).toContain('or use Node 22.13 or later');
    expect(output).toContain('or set DATABASE_URL');
  });

  (kinds[0].isHere ? it : it.skip)('says what to do with files that cannot be used', async () => {
    const file = join(folder, 'no database');
    mkdirSync(file);
    writeFileSync(join(file, 'members.sqlite'), 'no database '.repeat(100));
    expect(await start({ DATA_FOLDER: file })).toMatch(
      /^Cannot start: .+no database\/members\.sqlite is not a SQLite database: .+\nMove it away, or set DATA_FOLDER/,
    );
    expect(await start({ DATA_FOLDER: join(file, 'members.sqlite') })).toMatch(
      /^Cannot start: .+ cannot be opened and written: .+\nAllow it for the file and its folder, or set DATA_FOLDER/,
    );
    const other = join(folder, 'no receipts');
    mkdirSync(join(other, 'receipts.txt'), { recursive: true });
    expect(await start({ DATA_FOLDER: other })).toContain(
      `Cannot start: ${join(other, 'receipts.txt')} cannot be opened and written: EISDIR`,
    );
  });

  it('says what to do without a PostgreSQL server', async () => {
    const output = await start({ DATABASE_URL: 'postgres://someone:secret@localhost:1/members' });
    expect(output).toMatch(
      /^Cannot start: PostgreSQL cannot be used as DATABASE_URL says: .*ECONNREFUSED.*\nCheck that/,
    );
    expect(output).not.toContain('secret');
  });

  (kinds[0].isHere ? it : it.skip)('says what to do with a broken counter of receipts', async () => {
    writeFileSync(join(folder, 'receipts.txt'), 'x');
    expect(await start({})).toContain(
      `Cannot start: ${join(folder, 'receipts.txt')}: expected the number of the last receipt, got "x".`,
    );
  });
});

interface Numbers {
  database: string;
  queues: { queue: string; requests: number; batches: number; meanBatch: number; saved: number }[];
}

/** Kept open, so that requests sent together arrive together. */
const agent = connections();

/** The body of a 400, which lists what its message says, a line each. */
function invalid(message: string) {
  const details = message.split('\n').map((line) => {
    const pattern = /^(?<path>\w*?)(?:: )?expected (?<expected>.*?)(?:, got (?<received>.*))?$/s;
    return { ...pattern.exec(line)?.groups };
  });
  return { statusCode: 400, error: 'Bad Request', message, code: 'ERR_INVALID', details };
}

interface JsonAnswer {
  status: number;
  body: unknown;
  retryAfter?: string;
}

async function get(url: string): Promise<JsonAnswer> {
  return jsonOf(await send(url, { agent }));
}

async function post(url: string, given?: unknown): Promise<JsonAnswer> {
  const headers = { 'content-type': 'application/json' };
  return jsonOf(await send(url, { agent, method: 'POST', headers }, JSON.stringify(given)));
}

function jsonOf({ status, headers, body }: Answer): JsonAnswer {
  const retryAfter = headers['retry-after'];
  return { status, body: JSON.parse(body), ...(retryAfter !== undefined && { retryAfter }) };
}

/** 64 clients that look up and add, each on a connection of its own, until the server is gone. */
function traffic(url: string): { answered: Map<string, Member>; ended: Promise<unknown> } {
  /** The member in each answer, by the id of the request. */
  const answered = new Map<string, Member>();
  let count = 0;
  const client = async (): Promise<void> => {
    for (;;) {
      const number = count++;
      const headers = { 'content-type': 'application/json', 'x-request-id': String(number) };
      const body = JSON.stringify({ ...grace, email: `traffic.${number}@example.org` });
      try {
        const { body: answer } =
          number % 3 === 0
            ? await send(`${url}/members`, { agent, method: 'POST', headers }, body)
            : await send(`${url}/members/${1 + (number % 500)}`, { agent, headers });
        const member = JSON.parse(answer) as Member;
        if (member.id) answered.set(String(number), member);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'ECONNREFUSED') return;
        if (code !== 'ECONNRESET' && code !== 'EPIPE') throw error;
      }
    }
  };
  return { answered, ended: Promise.all(Array.from({ length: 64 }, client)) };
}
