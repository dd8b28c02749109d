import { strict as assert } from 'node:assert';
import { Agent, get, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';

/** What the clients of the HTTP bench are asked to do, by a message from `http.ts`. */
export type Task =
  | {
      /** Independent callers: requests at random moments, whether earlier ones are answered or not. */
      kind: 'poisson';
      url: string;
      /** Requests per millisecond. */
      rate: number;
      milliseconds: number;
      seed: number;
    }
  | {
      /** The first so many test digits of MNIST, over 64 connections. */
      kind: 'digits';
      url: string;
      count: number;
    };

export type Seen =
  | { kind: 'poisson'; /** Milliseconds, without the first fifth of the requests. */ mean: number }
  | { kind: 'digits'; perSecond: number };

/** A process of its own, so that the server has the other core for itself. An answer that is wrong ends it. */
process.on('message', (task: Task) => {
  void (task.kind === 'poisson' ? poisson(task) : digits(task)).then((seen) => process.send?.(seen));
});

async function poisson({ url, rate, milliseconds, seed }: Task & { kind: 'poisson' }): Promise<Seen> {
  const agent = new Agent({ keepAlive: true });
  const random = randomNumbers(seed);
  const results: Promise<number>[] = [];
  const start = performance.now();
  for (let at = start; at < start + milliseconds; at -= Math.log(1 - random()) / rate) {
    // Those whose time has come while this slept follow at once.
    if (at > performance.now()) await sleep(at - performance.now());
    results.push(latencyOf(`${url}/12`, agent));
  }
  const latencies = (await Promise.all(results)).slice(results.length / 5);
  agent.destroy();
  return { kind: 'poisson', mean: latencies.reduce((sum, latency) => sum + latency, 0) / latencies.length };
}

function latencyOf(url: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = performance.now();
    get(url, { agent }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('error', reject);
      response.on('end', () => {
        assert.equal(body, '144');
        resolve(performance.now() - sent);
      });
    }).on('error', reject);
  });
}

let bodies: Promise<{ json: string; label: number }[]> | undefined;

async function digits({ url, count }: Task & { kind: 'digits' }): Promise<Seen> {
  // Made once, before the clock runs.
  bodies ??= loadTestDigits().then((all) =>
    all.map(({ pixels, label }) => ({ json: JSON.stringify({ pixels: [...pixels] }), label })),
  );
  const queue = (await bodies).slice(0, count).values();
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  let right = 0;
  const caller = async () => {
    for (const { json, label } of queue) if ((await digitOf(`${url}/digits`, agent, json)) === label) right++;
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: 64 }, caller));
  const perSecond = (1000 * count) / (performance.now() - start);
  agent.destroy();
  // The network reads 98.6 % of all right.
  assert(right >= 0.97 * count, `only ${right} of ${count} digits were read right`);
  return { kind: 'digits', perSecond };
}

function digitOf(url: string, agent: Agent, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const outgoing = request(url, { agent, method: 'POST', headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('error', reject);
      response.on('end', () => {
        assert.equal(response.statusCode, 200, text);
        resolve((JSON.parse(text) as { digit: number }).digit);
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
