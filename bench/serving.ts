import { strict as assert } from 'node:assert';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { GROUPS, OUTSIDE } from './cpu-profile.js';
import type { Load, Seen } from './serving-clients.js';
import type { Request, Served, Spent } from './serving-server.js';
import { median, printTable, ratio } from './table.js';

/** What may follow `npm run bench serving --`. */
export const servingOptions: readonly string[] = ['--short', '--profile'];

const MANY = 64;
/** Digits that are under way at the same time, but for `many`: there twice as many, or a body would have to wait for another. */
const CALLERS = 256;

const kinds: readonly Pick<Load, 'type' | 'digits' | 'connections' | 'pipelining'>[] = [
  { type: 'JSON', digits: 1, connections: CALLERS / 4, pipelining: 4 },
  { type: 'bytes', digits: 1, connections: CALLERS / 4, pipelining: 4 },
  { type: 'JSON', digits: MANY, connections: (2 * CALLERS) / MANY, pipelining: 1 },
  { type: 'bytes', digits: MANY, connections: (2 * CALLERS) / MANY, pipelining: 1 },
];
type Kind = (typeof kinds)[number];

const adapters = ['express', 'fastify'] as const;
const INJECTED = 'injected';
/** Share of its time from which on the clients' event loop is said to be the limit. */
const CLIENTS_ARE_LIMIT = 0.9;

/**
 * Seconds for which answers are counted. Together 200 s, 13 loads a round and one round to warm up, short 40 s; for a profile 8
 * loads, each after one to warm up, 35 s, short 20 s. On a busy machine a load waits for its first answer, and takes longer.
 */
const efforts = {
  full: { rounds: 9, seconds: 1.2, warmUp: 0.7 },
  short: { rounds: 3, seconds: 0.4, warmUp: 0.3 },
};

/**
 * `npm run bench serving [-- --short] [-- --profile]`: the demo's digits over HTTP, as JSON and as bytes, one in a body and 64, on
 * Express and on Fastify; beside it the same without HTTP, and the same clients on a server that does nothing. With `--profile`
 * where the main thread's time goes, instead.
 */
export async function benchServing(options: readonly string[]): Promise<void> {
  const effort = efforts[options.includes('--short') ? 'short' : 'full'];
  const processes = await startAll();
  try {
    await (options.includes('--profile') ? profileAll : compareAll)(processes, effort);
  } finally {
    for (const child of [processes.clients, ...processes.servers.values()].map((one) =>
      'child' in one ? one.child : one,
    )) {
      child.kill();
    }
  }
}

interface Started {
  child: ChildProcess;
  url: string;
}

interface Processes {
  servers: Map<Served, Started>;
  clients: ChildProcess;
}

type Effort = (typeof efforts)['full'];

interface Round extends Seen {
  server: Spent;
}

async function startAll(): Promise<Processes> {
  const servers = await Promise.all(
    ([...adapters, 'bare'] as const).map(async (served): Promise<[Served, Started]> => {
      const child = start('serving-server.ts', served);
      return [served, { child, url: await next<string>(child) }];
    }),
  );
  return { servers: new Map(servers), clients: start('serving-clients.ts') };
}

function start(program: string, ...args: string[]): ChildProcess {
  return fork(new URL(program, import.meta.url), args);
}

async function compareAll({ servers, clients }: Processes, effort: Effort): Promise<void> {
  const express = servers.get('express')?.child;
  assert(express);
  console.log(
    `\nDigits over HTTP, one and ${MANY} in a body, ${CALLERS} under way (${2 * CALLERS} where there are ${MANY} in a body); ` +
      `medians of ${effort.rounds} rounds of ${effort.seconds} s`,
  );
  const injected: number[] = [];
  const rounds = new Map<string, Round[]>();
  for (let round = -1; round < effort.rounds; round++) {
    const isWarmUp = round < 0;
    const seconds = isWarmUp ? effort.warmUp : effort.seconds;
    const rate = await ask<number>(express, { injected: { callers: CALLERS, ms: seconds * 1000 } });
    if (!isWarmUp) injected.push(rate);
    for (const kind of kinds) {
      for (const [served, server] of servers) {
        const figures = await measure(server, clients, kind, seconds, served !== 'bare');
        if (isWarmUp) continue;
        const name = nameOf(kind, served);
        rounds.set(name, [...(rounds.get(name) ?? []), figures]);
      }
    }
  }
  const rates = (kind: Kind, served: Served) =>
    (rounds.get(nameOf(kind, served)) ?? []).map(({ digitsPerSecond }) => digitsPerSecond);
  const rows = [
    [
      'body',
      'server',
      'digits/s',
      '(least–most)',
      `/ ${INJECTED}`,
      'mean batch',
      'server busy',
      'clients busy',
      '',
    ],
    [INJECTED, 'no HTTP', ...spread(injected), '', '', '', '', ''],
  ];
  for (const kind of kinds) {
    for (const served of servers.keys()) {
      const figures = rounds.get(nameOf(kind, served)) ?? [];
      const busy = median(figures.map((round) => round.busy));
      const batches = median(figures.map(({ server }) => server.inputs / server.batches));
      rows.push([
        labelOf(kind),
        served,
        ...spread(rates(kind, served)),
        served === 'bare' ? '' : ratio(rates(kind, served), injected),
        served === 'bare' ? '' : batches.toFixed(1),
        percent(median(figures.map(({ server }) => server.busy))),
        percent(busy),
        busy > CLIENTS_ARE_LIMIT ? 'the clients are the limit' : '',
      ]);
    }
  }
  printTable(rows);
  const [json, bytes, jsonMany, bytesMany] = kinds;
  assert(json && bytes && jsonMany && bytesMany);
  console.log('\nRatios round by round');
  printTable([
    ['', ...adapters],
    ...(
      [
        ['bytes / JSON, one in a body', bytes, json],
        [`bytes / JSON, ${MANY} in a body`, bytesMany, jsonMany],
        [`${MANY} / one in a body, JSON`, jsonMany, json],
        [`${MANY} / one in a body, bytes`, bytesMany, bytes],
      ] as const
    ).map(([name, ours, theirs]) => [
      name,
      ...adapters.map((served) => ratio(rates(ours, served), rates(theirs, served))),
    ]),
  ]);
  console.log('');
  printTable([
    ['Fastify / Express', ''],
    ...kinds.map((kind) => [labelOf(kind), ratio(rates(kind, 'fastify'), rates(kind, 'express'))]),
  ]);
}

/** The demo's main thread under load, by groups of functions, and what its workers do meanwhile. */
async function profileAll({ servers, clients }: Processes, effort: Effort): Promise<void> {
  const seconds = 2 * effort.seconds;
  const columns: { head: string; cells: string[] }[] = [];
  const rows = [...GROUPS, 'main thread, together', 'model, in the workers', 'main thread busy'];
  for (const kind of kinds) {
    for (const served of adapters) {
      const server = servers.get(served);
      assert(server);
      await measure(server, clients, kind, seconds / 2, true);
      const { server: spent } = await measure(server, clients, kind, seconds, true, true);
      const { profile = {}, inputs, model, busy } = spent;
      const perDigit = (ms: number) => ((ms * 1000) / inputs).toFixed(1);
      const work = Object.entries(profile).filter(([name]) => name !== OUTSIDE);
      assert(
        work.every(([name]) => GROUPS.includes(name)),
        'a group of the profile has no row',
      );
      columns.push({
        head: `${labelOf(kind)}, ${served}`,
        cells: [
          ...GROUPS.map((name) => perDigit(profile[name] ?? 0)),
          perDigit(work.reduce((sum, [, ms]) => sum + ms, 0)),
          perDigit(model),
          percent(busy),
        ],
      });
    }
  }
  console.log(
    `\nWhere the time goes, µs per digit, by a CPU profile of the server's main thread over ${seconds} s of each load`,
  );
  printTable([
    ['', ...columns.map(({ head }) => head)],
    ...rows.map((row, i) => [row, ...columns.map(({ cells }) => cells[i] ?? '')]),
  ]);
}

async function measure(
  { child, url }: Started,
  clients: ChildProcess,
  kind: Kind,
  seconds: number,
  isRead: boolean,
  profile = false,
): Promise<Round> {
  await ask(child, { begin: { profile } });
  const seen = await ask<Seen>(clients, { ...kind, url, seconds, isRead });
  const server = await ask<Spent>(child, { end: true });
  assert(seen.isComplete, `${labelOf(kind)}: answers did not come for ${seconds} s`);
  assert.equal(seen.wrong, 0, `${labelOf(kind)}: a request failed, or a digit was not read as what it is`);
  return { ...seen, server };
}

async function ask<Answer>(child: ChildProcess, question: Request | Load): Promise<Answer> {
  const answer = next<Answer>(child);
  child.send(question);
  return answer;
}

/** The next message of a process; rejects when it ends before. */
async function next<Message>(child: ChildProcess): Promise<Message> {
  const over = new AbortController();
  try {
    return await Promise.race([
      once(child, 'message', { signal: over.signal }).then(([message]) => message as Message),
      once(child, 'exit', { signal: over.signal }).then(([code, signal]) => {
        throw new Error(`a process of the bench ended with ${code ?? signal}`);
      }),
    ]);
  } finally {
    over.abort();
  }
}

function nameOf(kind: Kind, served: Served): string {
  return `${labelOf(kind)} ${served}`;
}

function labelOf({ type, digits }: Kind): string {
  return `${type}, ${digits}`;
}

function spread(rates: readonly number[]): [string, string] {
  const show = (rate: number) => rate.toLocaleString('en', { maximumFractionDigits: 0 });
  return [show(median(rates)), `(${show(Math.min(...rates))}–${show(Math.max(...rates))})`];
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
