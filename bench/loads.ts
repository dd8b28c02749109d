import { strict as assert } from 'node:assert';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import autocannon from 'autocannon';

/** What the benchmarks put on a batcher, whichever it is: nothing here imports one. */
export type Submit = (input: number) => Promise<number>;
export type Run = (inputs: readonly number[]) => Promise<number[]> | number[];

export const square = (inputs: readonly number[]) => Promise.resolve(inputs.map((input) => input * input));

/**
 * Million items per second through a batcher of `square` that is given `backlog` inputs at once, again and again, until at
 * least 192,000 and at least three times that many are through.
 *
 * @param clock in milliseconds; default: the time that passes
 */
export async function measureBacklog(
  submit: Submit,
  backlog: number,
  clock: () => number = () => performance.now(),
): Promise<number> {
  const total = Math.max(192_000, 3 * backlog);
  let sum = 0;
  const start = clock();
  for (let done = 0; done < total; done += backlog) {
    const results = await Promise.all(Array.from({ length: backlog }, (_, input) => submit(input)));
    sum += results[backlog - 1] ?? NaN;
  }
  const elapsed = clock() - start;
  assert.equal(sum, Math.ceil(total / backlog) * (backlog - 1) ** 2);
  return (Math.ceil(total / backlog) * backlog) / elapsed / 1000;
}

/** The service time of the anchors' example: a batch of n takes α · n + β milliseconds. */
export const ALPHA = 0.25;
export const BETA = 5;

export const runs: Record<string, Run> = {
  /** As tfjs-node does: the event loop stands still while the batch runs. */
  blocking: (inputs) => {
    const end = performance.now() + serviceTime(inputs.length);
    while (performance.now() < end);
    return inputs.map((input) => input * input);
  },
  /** As a device or a database does. */
  'non-blocking': async (inputs) => {
    await setTimeout(serviceTime(inputs.length));
    return inputs.map((input) => input * input);
  },
};

/** A batcher behind an HTTP server on loopback: `/12` is answered with `144`. */
export class SquareServer {
  /** Calls of the batch function, and their inputs. */
  batches = 0;
  inputs = 0;
  /** Moments of the answers. */
  readonly answered: number[] = [];
  readonly #server: Server;

  constructor(build: (run: Run) => Submit, run: Run) {
    const submit = build((batch) => {
      this.batches++;
      this.inputs += batch.length;
      return run(batch);
    });
    this.#server = createServer((request, response) => {
      void submit(Number(request.url?.slice(1))).then((result) => {
        this.answered.push(performance.now());
        response.end(String(result));
      });
    });
  }

  /** @returns its address */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

export interface HttpFigures {
  perSecond: number;
  p50: number;
  p99: number;
}

/** Clients that each send their next request when the answer is there, over loopback, from another thread. */
export async function crowd(url: string, clients: number, seconds: number): Promise<HttpFigures> {
  const result = await autocannon({
    url: `${url}/12`,
    connections: clients,
    duration: seconds,
    expectBody: '144',
    workers: 1,
    // It ends at a sample only.
    sampleInt: 100,
  });
  assert.equal(
    result.mismatches + result.non2xx + result.errors,
    0,
    'a request failed or got a wrong result',
  );
  return {
    perSecond: result.requests.total / result.duration,
    p50: result.latency.p50,
    p99: result.latency.p99,
  };
}

/** A crowd at a new batcher, for a second. */
export async function measureHttp(
  build: (run: Run) => Submit,
  run: Run,
  clients: number,
): Promise<HttpFigures> {
  const server = new SquareServer(build, run);
  const figures = await crowd(await server.listen(), clients, 1);
  server.close();
  return figures;
}

function serviceTime(size: number): number {
  return ALPHA * size + BETA;
}
