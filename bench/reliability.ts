import { strict as assert } from 'node:assert';
import { Agent, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { progressBar } from '@app/figures';
import type { QueueStats } from 'nest-batching';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import { AppProcess } from '../test/app-process.js';
import { median, printTable } from './table.js';

/** How long what lasts, in seconds. */
export interface Effort {
  readonly capacity: number;
  readonly load: number;
  readonly killEvery: number;
  readonly changeEvery: number;
  readonly memoryEvery: number;
}

const FULL: Effort = { capacity: 10, load: 600, killEvery: 30, changeEvery: 7, memoryEvery: 5 };
const QUICK: Effort = { capacity: 5, load: 60, killEvery: 15, changeEvery: 3, memoryEvery: 1 };

/** Share of the capacity that is sent. */
const LOAD = 0.9;
/** Requests in progress at once, each on a connection of its own. */
const CONNECTIONS = 128;
const SLOW_CLIENTS = 8;
const VIEWERS = 4;

/** Of a thousand requests, beside those that a client waits for. */
const OF_A_THOUSAND = { broken: 10, poison: 5, aborted: 20 };

type Kind = 'usual' | 'slow' | keyof typeof OF_A_THOUSAND;

/** What the memory may grow by from the second fifth of a run to its last one, in bytes. */
const GROWTH = { held: 4_000_000, rss: 48_000_000 };

export interface Reliability {
  readonly perSecond: { readonly capacity: number; readonly load: number };
  /** How requests ended, by their kind and their status or code. */
  readonly outcomes: ReadonlyMap<string, number>;
  /** What should not have been, in words. Empty if all is well. */
  readonly faults: readonly string[];
  readonly kills: number;
  readonly changes: number;
  /** Milliseconds from when a request was due. */
  readonly latency: { readonly p50: number; readonly p99: number; readonly most: number };
  /** Milliseconds from SIGTERM until the process had ended. */
  readonly end: number;
  readonly stats: QueueStats;
  readonly memory: readonly { readonly held: number; readonly rss: number }[];
}

/**
 * Runs the built demo in a process of its own at nine tenths of what it takes, with all that goes wrong in a day: slow
 * clients and viewers that do not read, clients that go away, bodies that are none, inputs that fail their batch,
 * inference workers that end, and settings that are changed. Then SIGTERM under that load.
 */
export async function reliability(effort: Effort, progress: (seconds: number) => void): Promise<Reliability> {
  const faultsFile = join(import.meta.dirname, 'reliability-faults.mjs');
  const demo = new AppProcess(
    'demo-api',
    { LOG_FORMAT: 'json', BACKEND: 'wasm', TUNE: 'on', MEMORY_EVERY: String(1000 * effort.memoryEvery) },
    ['--expose-gc', '--import', faultsFile],
  );
  try {
    const clients = new Clients(await demo.listening(), await digits());
    const capacity = await clients.measureCapacity(1000 * effort.capacity);
    const rate = LOAD * capacity;
    const began = performance.now();
    const elapsed = (): number => (performance.now() - began) / 1000;
    let [kills, changes] = [0, 0];
    clients.begin(rate);
    while (elapsed() < effort.load) {
      await sleep(100);
      progress(Math.min(effort.load, Math.floor(elapsed())));
      // Not in the last second: what a worker has when the process ends is another matter.
      if (elapsed() > (kills + 0.5) * effort.killEvery && elapsed() < effort.load - 1) {
        demo.kill('SIGUSR2');
        kills++;
      }
      if (elapsed() > (changes + 1) * effort.changeEvery) await clients.changeSettings(changes++);
    }
    const signalled = performance.now();
    clients.ending();
    demo.kill('SIGTERM');
    const { signal, code } = await demo.exit;
    const end = performance.now() - signalled;
    await clients.end();
    const { outcomes, faults, latency } = clients;
    if (signal !== 'SIGTERM')
      faults.push(`the process ended with ${String(signal ?? code)}:\n${demo.output}`);
    const stats = JSON.parse(/STATS (.*)/.exec(demo.output)?.[1] ?? 'null') as QueueStats | null;
    assert(stats, `the demo has not written the statistics of its queue:\n${demo.output}`);
    checkCounts(stats, outcomes, faults);
    const memory = Array.from(
      demo.output.matchAll(/MEMORY (.*)/g),
      ([, line = '']) => JSON.parse(line) as { held: number; rss: number },
    );
    const perSecond = { capacity, load: clients.sent / effort.load };
    return { perSecond, outcomes, faults, kills, changes, latency, end, stats, memory };
  } finally {
    demo.kill('SIGKILL');
    await demo.exit;
  }
}

/** What the queue has counted agrees with itself, and with what its callers saw. */
function checkCounts(stats: QueueStats, outcomes: ReadonlyMap<string, number>, faults: string[]): void {
  const { submitted, settled, results, errors, dropped, waiting, running } = stats;
  if (submitted !== settled + dropped || waiting + running > 0) {
    faults.push(`counts of the queue: ${JSON.stringify({ submitted, settled, dropped, waiting, running })}`);
  }
  const count = (expression: RegExp): number =>
    [...outcomes].reduce((sum, [name, times]) => sum + (expression.test(name) ? times : 0), 0);
  const within = (what: string, value: number, answered: number, unknown: number): void => {
    if (value >= answered && value <= answered + unknown) return;
    faults.push(
      `${what}: the queue counts ${value}, its callers ${answered}, and ${unknown} that did not wait`,
    );
  };
  // Clients that went away, and those that the end came before, do not know how their input ended.
  const unknown = count(/gone|after SIGTERM/);
  within('results', results, count(/: 200$/), unknown);
  within('errors and drops', errors + dropped, count(/: (500|503 ERR_BATCHING_)/), unknown);
}

interface Digit {
  readonly pixels: Buffer;
  readonly json: Buffer;
  readonly label: number;
}

async function digits(): Promise<Digit[]> {
  const samples = (await loadTestDigits()).slice(0, 2000);
  return samples.map(({ pixels, label }) => ({
    pixels: Buffer.from(pixels),
    json: Buffer.from(JSON.stringify({ pixels: [...pixels] })),
    label,
  }));
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

class Clients {
  readonly outcomes = new Map<string, number>();
  readonly faults: string[] = [];
  /** Requests of the load. */
  sent = 0;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  readonly #slowAgent = new Agent({ keepAlive: false });
  readonly #random = randomNumbers(1);
  readonly #gone = new AbortController();
  readonly #requests = new Set<Promise<void>>();
  /** Clients that send slowly, until the end. */
  readonly #slow: Promise<void>[] = [];
  readonly #latencies: number[] = [];
  #next = 0;
  #right = 0;
  #wrong = 0;
  #isEnding = false;
  #isOver = false;

  constructor(
    private readonly url: string,
    private readonly digits: readonly Digit[],
  ) {}

  /** Requests per second of clients that each send their next request when the answer is there. */
  async measureCapacity(milliseconds: number): Promise<number> {
    const round = async (time: number): Promise<number> => {
      let answers = 0;
      const began = performance.now();
      const client = async (): Promise<void> => {
        while (performance.now() - began < time) {
          await this.#send('usual');
          answers++;
        }
      };
      await Promise.all(Array.from({ length: CONNECTIONS }, client));
      return (1000 * answers) / (performance.now() - began);
    };
    await round(milliseconds / 5);
    return round(milliseconds);
  }

  /** Sends so many requests per second, and has slow clients beside them. */
  begin(rate: number): void {
    const began = performance.now();
    const tick = (): void => {
      if (this.#isOver) return;
      while (this.#requests.size < CONNECTIONS && this.sent < ((performance.now() - began) * rate) / 1000) {
        const due = began + (1000 * this.sent) / rate;
        this.sent++;
        const request = this.#send(this.#kind(), due).finally(() => this.#requests.delete(request));
        this.#requests.add(request);
      }
      setTimeout(tick, 2);
    };
    tick();
    for (let index = 0; index < SLOW_CLIENTS; index++) this.#slow.push(this.#sendSlowly());
    for (let index = 0; index < VIEWERS; index++)
      this.#neverRead(index % 2 ? '/queues/live' : '/batching/events');
  }

  async changeSettings(index: number): Promise<void> {
    const batchSize = [32, 64, 128][index % 3];
    const maxDelay = [0, 5, 10, 2.5][index % 4];
    const dispatch = ['eager', 'fixed', 'adaptive'][Math.floor(index / 2) % 3];
    const body = JSON.stringify({ queue: 'DigitClassifier.classify', batchSize, maxDelay, dispatch });
    const { status, body: said } = await this.#ask(
      '/batching/settings',
      'application/json',
      Buffer.from(body),
      this.#slowAgent,
    );
    if (status !== 200) this.faults.push(`a change of settings: ${status} ${said}`);
  }

  /** From now on a request may come too late. */
  ending(): void {
    this.#isEnding = true;
  }

  /** Resolves when every request has ended. */
  async end(): Promise<void> {
    this.#isOver = true;
    this.#gone.abort();
    await Promise.all([...this.#requests, ...this.#slow]);
    this.#agent.destroy();
    this.#slowAgent.destroy();
    // The network reads 98.6 % of all right; were answers mixed up, it would be a tenth.
    const share = this.#right / (this.#right + this.#wrong);
    if (!(share > 0.9)) this.faults.push(`only ${(100 * share).toFixed(1)} % of the digits were read right`);
  }

  get latency(): Reliability['latency'] {
    const sorted = this.#latencies.sort((a, b) => a - b);
    const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
    return { p50: at(0.5), p99: at(0.99), most: at(1) };
  }

  #kind(): Kind {
    let number = 1000 * this.#random();
    for (const [kind, times] of Object.entries(OF_A_THOUSAND)) {
      if (number < times) return kind as Kind;
      number -= times;
    }
    return 'usual';
  }

  /** Sends one request and notes how it ended. Never rejects. */
  async #send(kind: Kind, due?: number): Promise<void> {
    const digit = this.digits[this.#next++ % this.digits.length];
    assert(digit);
    const isLate = this.#isEnding;
    const gone = kind === 'aborted' ? AbortSignal.timeout(Math.floor(25 * this.#random())) : undefined;
    const isJson = this.#next % 4 === 0;
    const bodies = { broken: digit.pixels.subarray(1), poison: poisonOf(digit) };
    const bytes = kind === 'broken' || kind === 'poison' ? bodies[kind] : digit.pixels;
    try {
      const isInJson = isJson && bytes === digit.pixels;
      const type = isInJson ? 'application/json' : 'application/octet-stream';
      const answer = await this.#ask('/digits', type, isInJson ? digit.json : bytes, this.#agent, gone);
      this.#judge(kind, answer, digit.label);
      if (due !== undefined && kind === 'usual') this.#latencies.push(performance.now() - due);
    } catch (error) {
      this.#failed(kind, error, isLate, gone?.aborted === true);
    }
  }

  /** A client on a bad line: its body comes in many pieces, some milliseconds apart. */
  async #sendSlowly(): Promise<void> {
    while (!this.#isEnding) {
      const digit = this.digits[this.#next++ % this.digits.length];
      assert(digit);
      try {
        const { json } = digit;
        this.#judge(
          'slow',
          await this.#ask('/digits', 'application/json', pieces(json), this.#slowAgent),
          digit.label,
        );
      } catch (error) {
        this.#failed('slow', error, false, false);
      }
    }
  }

  #neverRead(path: string): void {
    const viewer = request(
      this.url + path,
      { agent: this.#slowAgent, signal: this.#gone.signal },
      (response) => {
        response.on('error', () => undefined);
        response.pause();
      },
    );
    viewer.on('error', () => undefined);
    viewer.end();
  }

  #judge(kind: Kind, { status, body }: Answer, label: number): void {
    const read = JSON.parse(body) as { digit?: number; code?: string };
    this.#count(`${kind}: ${status}${read.code === undefined ? '' : ` ${read.code}`}`);
    if (status === 200) {
      if (read.digit === label) this.#right++;
      else this.#wrong++;
    }
    // A worker that ended takes its batches with it; a queue that is full, or stops, refuses. All else has one answer.
    const isNamed = /^ERR_BATCHING_(WORKER|FULL|DEADLINE|STOPPED)$/.test(read.code ?? '');
    const isRight = kind === 'broken' ? status === 400 : kind === 'poison' ? status === 500 : status === 200;
    if (isRight || (kind !== 'broken' && status === 503 && isNamed)) return;
    this.faults.push(`${kind}: ${status} ${body}`);
  }

  #failed(kind: Kind, error: unknown, isLate: boolean, isGone: boolean): void {
    if (isGone) this.#count(`${kind}: gone before the answer`);
    else if (isLate) this.#count(`${kind}: sent after SIGTERM`);
    else this.faults.push(`${kind}: lost, ${String(error)}`);
  }

  #count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  #ask(
    path: string,
    type: string,
    body: Buffer | AsyncIterable<Buffer>,
    agent: Agent,
    signal?: AbortSignal,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers = {
        'content-type': type,
        ...(Buffer.isBuffer(body) ? { 'content-length': body.length } : {}),
      };
      const outgoing = request(this.url + path, { agent, signal, method: 'POST', headers });
      outgoing.once('response', (response: IncomingMessage) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('error', reject);
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, body: text });
        });
      });
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        // The server had closed an idle connection while the request was on its way: it has not seen it, and every client
        // sends it again.
        const isStale = outgoing.reusedSocket && error.code === 'ECONNRESET' && !this.#isEnding;
        if (isStale) this.#ask(path, type, body, agent, signal).then(resolve, reject);
        else reject(error);
      });
      if (Buffer.isBuffer(body)) outgoing.end(body);
      else void writeSlowly(outgoing, body);
    });
  }
}

async function writeSlowly(outgoing: NodeJS.WritableStream, body: AsyncIterable<Buffer>): Promise<void> {
  for await (const piece of body) outgoing.write(piece);
  outgoing.end();
}

async function* pieces(body: Buffer): AsyncGenerator<Buffer> {
  for (let from = 0; from < body.length; from += 64) {
    yield body.subarray(from, from + 64);
    await sleep(20);
  }
}

function poisonOf({ pixels }: Digit): Buffer {
  const poison = Buffer.from(pixels);
  poison.set([255, 1]);
  return poison;
}

/** `npm run bench reliability [quick]`: ten minutes, or one, of all that goes wrong, at nine tenths of the capacity. */
export async function benchReliability(quick: boolean): Promise<void> {
  const effort = quick ? QUICK : FULL;
  console.log(
    `\nReliability: the demo at ${100 * LOAD} % of its capacity for ${effort.load} s; an inference worker is ended every ` +
      `${effort.killEvery} s, settings change every ${effort.changeEvery} s; then SIGTERM`,
  );
  const bar = progressBar('{bar} {value}/{total} s');
  bar.start(effort.load, 0);
  const seen = await reliability(effort, (seconds) => {
    bar.update(seconds);
  });
  bar.stop();
  const { perSecond, kills, changes, latency, end, stats, memory, faults, outcomes } = seen;
  const number = (value: number): string => Math.round(value).toLocaleString('en');
  printTable([['requests', 'count'], ...[...outcomes].sort().map(([name, count]) => [name, number(count)])]);
  const growth = growthOf(memory);
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  printTable([
    ['what', 'figure'],
    ['capacity, load', `${number(perSecond.capacity)}/s, ${number(perSecond.load)}/s`],
    ['workers ended, settings changed', `${kills}, ${changes}`],
    [
      'latency p50, p99, longest',
      `${number(latency.p50)}, ${number(latency.p99)}, ${number(latency.most)} ms`,
    ],
    ['inputs = results + errors + dropped', countsOf(stats)],
    ['heap and buffers after a collection, second to last fifth', `${megabytes(growth.held)} more`],
    ['process memory, second to last fifth', `${megabytes(growth.rss)} more`],
    ['from SIGTERM to the end', `${number(end)} ms`],
    ['lost, or answered otherwise than stated', number(faults.length)],
  ]);
  for (const fault of faults.slice(0, 20)) console.error(`error: ${fault.slice(0, 500)}`);
  assert.equal(faults.length, 0, 'something was lost, or answered otherwise than stated');
  if (quick) return;
  assert(growth.held < GROWTH.held, `heap and buffers have grown by ${megabytes(growth.held)}`);
  assert(growth.rss < GROWTH.rss, `the memory of the process has grown by ${megabytes(growth.rss)}`);
}

function countsOf({ submitted, results, errors, dropped }: QueueStats): string {
  return [submitted, '=', results, '+', errors, '+', dropped]
    .map((each) => (typeof each === 'number' ? each.toLocaleString('en') : each))
    .join(' ');
}

/** From the second fifth of a run, when everything has been used, to its last. */
function growthOf(memory: Reliability['memory']): { held: number; rss: number } {
  const fifth = Math.floor(memory.length / 5);
  const of = (key: 'held' | 'rss'): number => {
    const values = memory.map((each) => each[key]);
    return median(values.slice(-fifth)) - median(values.slice(fifth, 2 * fifth));
  };
  return { held: of('held'), rss: of('rss') };
}
