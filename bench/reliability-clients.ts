import { strict as assert } from 'node:assert';
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BatchOptions } from 'nest-batching';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import { RequestTimes } from './reliability-times.js';

/** Requests in progress at once, each on a connection of its own. */
const CONNECTIONS = 128;
const SLOW_CLIENTS = 8;
const VIEWERS = 4;

/** Of a thousand requests, beside those that a client waits for. */
const OF_A_THOUSAND = { broken: 10, poison: 5, aborted: 20 };

type Kind = 'usual' | 'slow' | keyof typeof OF_A_THOUSAND;

/** What is changed at the queue of digits. */
export type Settings = Required<Pick<BatchOptions, 'batchSize' | 'maxDelay' | 'dispatch'>>;

export interface Digit {
  readonly pixels: Buffer;
  readonly json: Buffer;
  readonly label: number;
}

export async function digits(): Promise<Digit[]> {
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

/** All clients of the demo, and what became of their requests. */
export class Clients {
  readonly outcomes = new Map<string, number>();
  readonly faults: string[] = [];
  /** Of the usual requests of the load. */
  readonly times = new RequestTimes();
  /** Requests of the load. */
  sent = 0;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  readonly #slowAgent = new Agent({ keepAlive: false });
  readonly #random = randomNumbers(1);
  readonly #gone = new AbortController();
  readonly #requests = new Set<Promise<unknown>>();
  /** Clients that send slowly, until the end. */
  readonly #slow: Promise<void>[] = [];
  #next = 0;
  #right = 0;
  #wrong = 0;
  #isEnding = false;
  #isOver = false;

  constructor(
    private readonly url: string,
    private readonly digits: readonly Digit[],
  ) {}

  /** Those that come beside the load, until the end: slow clients, and viewers. */
  accompany(): void {
    for (let index = 0; index < SLOW_CLIENTS; index++) this.#slow.push(this.#sendSlowly());
    for (let index = 0; index < VIEWERS; index++)
      this.#neverRead(index % 2 ? '/queues/live' : '/batching/events');
  }

  /**
   * Requests per second of clients that each send their next request when the last one has ended, of all kinds. Those that
   * are refused for want of time do not count.
   */
  async measureCapacity(milliseconds: number): Promise<number> {
    let ended = 0;
    const began = performance.now();
    const client = async (): Promise<void> => {
      while (performance.now() - began < milliseconds) {
        const status = await this.#send(this.#kind());
        if (status !== 503 && status !== 504) ended++;
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, client));
    return (1000 * ended) / (performance.now() - began);
  }

  /** Sends so many requests per second from `began` on, as far as there are connections for them. */
  begin(rate: number, began: number): void {
    const tick = (): void => {
      if (this.#isOver) return;
      while (this.#requests.size < CONNECTIONS && this.sent < ((performance.now() - began) * rate) / 1000) {
        const due = (1000 * this.sent) / rate;
        this.sent++;
        const note = (sent: number, isAnswered: boolean): void => {
          this.times.add(due, sent - began, isAnswered ? performance.now() - began : Infinity);
        };
        const request = this.#send(this.#kind(), note).finally(() => this.#requests.delete(request));
        this.#requests.add(request);
      }
      setTimeout(tick, 2);
    };
    tick();
  }

  async change(settings: Settings): Promise<void> {
    const body = JSON.stringify({ queue: 'DigitClassifier.classify', ...settings });
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

  #kind(): Kind {
    let number = 1000 * this.#random();
    for (const [kind, times] of Object.entries(OF_A_THOUSAND)) {
      if (number < times) return kind as Kind;
      number -= times;
    }
    return 'usual';
  }

  /**
   * Sends one request and notes how it ended. Never rejects.
   *
   * @param note called when a usual one gets its digit or is refused, with when it was sent, by `performance.now()`
   * @returns the status, if there was an answer
   */
  async #send(kind: Kind, note?: (sent: number, isAnswered: boolean) => void): Promise<number | undefined> {
    const digit = this.digits[this.#next++ % this.digits.length];
    assert(digit);
    const isLate = this.#isEnding;
    const gone = kind === 'aborted' ? AbortSignal.timeout(Math.floor(25 * this.#random())) : undefined;
    const isJson = this.#next % 4 === 0;
    const bodies = { broken: digit.pixels.subarray(1), poison: poisonOf(digit) };
    const bytes = kind === 'broken' || kind === 'poison' ? bodies[kind] : digit.pixels;
    const sent = performance.now();
    try {
      const isInJson = isJson && bytes === digit.pixels;
      const type = isInJson ? 'application/json' : 'application/octet-stream';
      const answer = await this.#ask('/digits', type, isInJson ? digit.json : bytes, this.#agent, gone);
      this.#judge(kind, answer, digit.label);
      if (kind === 'usual') note?.(sent, answer.status === 200);
      return answer.status;
    } catch (error) {
      this.#failed(kind, error, isLate, gone?.aborted === true);
      return undefined;
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
    // A worker that ended takes its batches with it; a queue that is full, late, or stops, refuses. All else has one answer.
    const isNamed = /^(503 ERR_BATCHING_(WORKER|FULL|DEADLINE|STOPPED)|504 ERR_BATCHING_TIMEOUT)$/.test(
      `${status} ${read.code ?? ''}`,
    );
    const isRight = kind === 'broken' ? status === 400 : kind === 'poison' ? status === 500 : status === 200;
    if (isRight || (kind !== 'broken' && isNamed)) return;
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
