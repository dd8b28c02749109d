import { strict as assert } from 'node:assert';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import autocannon from 'autocannon';
import { BatchQueue } from 'nest-batching';
import { median, printTable, ratio } from './table.js';

/** The service time of the anchors' example: a batch of n takes α · n + β milliseconds. */
const ALPHA = 0.25;
const BETA = 5;
const BATCH_SIZE = 32;
const CLIENTS = [1, 8, 32, 64];
const ROUNDS = 3;
const SECONDS = 1;

type Run = (inputs: readonly number[]) => Promise<number[]> | number[];
type Submit = (input: number) => Promise<number>;

const runs: Record<string, Run> = {
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

/** Where the batch is formed decides what HTTP traffic gets out of it. */
const contenders: Record<string, (run: Run) => Submit> = {
  BatchQueue: (run) => {
    const queue = new BatchQueue(run, { batchSize: BATCH_SIZE, maxDelay: 10 });
    return (input) => queue.submit(input);
  },
  'fixed, 2 ms': (run) => {
    const queue = new BatchQueue(run, { batchSize: BATCH_SIZE, maxDelay: 2, dispatch: 'fixed' });
    return (input) => queue.submit(input);
  },
  'on process.nextTick': (run) =>
    scheduled(run, (dispatch) => {
      process.nextTick(dispatch);
    }),
  'one by one': (run) => {
    let last: Promise<unknown> = Promise.resolve();
    return (input) => {
      const result = last.then(async () => (await run([input]))[0] ?? NaN);
      last = result;
      return result;
    };
  },
};

/** One batch at a time, as the others; formed when `schedule` calls back. */
function scheduled(run: Run, schedule: (dispatch: () => void) => void): Submit {
  const open: { input: number; resolve: (result: number) => void }[] = [];
  let busy = false;
  const dispatch = async () => {
    if (busy || open.length === 0) return;
    busy = true;
    const batch = open.splice(0, BATCH_SIZE);
    const results = await run(batch.map(({ input }) => input));
    batch.forEach(({ resolve }, index) => {
      resolve(results[index] ?? NaN);
    });
    busy = false;
    if (open.length > 0) schedule(() => void dispatch());
  };
  return (input) =>
    new Promise((resolve) => {
      open.push({ input, resolve });
      schedule(() => void dispatch());
    });
}

interface Figures {
  perSecond: number;
  meanBatch: number;
  p50: number;
  p99: number;
}

/** Clients that each send their next request when the answer is there, over loopback, from another thread. */
export async function benchHttp(): Promise<void> {
  for (const [kind, run] of Object.entries(runs)) {
    console.log(
      `\nHTTP, ${kind} batch function of ${ALPHA} ms · n + ${BETA} ms, batch size ${BATCH_SIZE}, ` +
        `median of ${ROUNDS} rounds of ${SECONDS} s`,
    );
    const rows = [['clients', '', 'requests/s', 'mean batch', 'p50 ms', 'p99 ms', 'BatchQueue /']];
    for (const clients of CLIENTS) {
      const figures = await measureSideBySide(run, clients);
      const ours = figures.get('BatchQueue') ?? [];
      for (const [name, rounds] of figures) {
        const of = (key: keyof Figures) => median(rounds.map((round) => round[key]));
        rows.push([
          String(clients),
          name.padEnd(20),
          of('perSecond').toFixed(0),
          of('meanBatch').toFixed(1),
          of('p50').toFixed(0),
          of('p99').toFixed(0),
          name === 'BatchQueue'
            ? ''
            : ratio(
                ours.map((one) => one.perSecond),
                rounds.map((one) => one.perSecond),
              ),
        ]);
      }
      const meanBatch = median(ours.map((round) => round.meanBatch));
      if (clients > 1)
        assert(meanBatch > 1, `mean batch ${meanBatch} at ${clients} clients: nothing was batched`);
    }
    printTable(rows);
  }
}

async function measureSideBySide(run: Run, clients: number): Promise<Map<string, Figures[]>> {
  const figures = new Map(Object.keys(contenders).map((name) => [name, [] as Figures[]]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, build] of Object.entries(contenders))
      figures.get(name)?.push(await measure(build, run, clients));
  }
  return figures;
}

async function measure(build: (run: Run) => Submit, run: Run, clients: number): Promise<Figures> {
  let batches = 0;
  let inputs = 0;
  const submit = build((batch) => {
    batches++;
    inputs += batch.length;
    return run(batch);
  });
  const server = createServer((request, response) => {
    void submit(Number(request.url?.slice(1))).then((result) => response.end(String(result)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const result = await autocannon({
    url: `http://127.0.0.1:${port}/12`,
    connections: clients,
    duration: SECONDS,
    expectBody: '144',
    workers: 1,
  });
  server.closeAllConnections();
  server.close();
  assert.equal(
    result.mismatches + result.non2xx + result.errors,
    0,
    'a request failed or got a wrong result',
  );
  return {
    perSecond: result.requests.total / result.duration,
    meanBatch: inputs / batches,
    p50: result.latency.p50,
    p99: result.latency.p99,
  };
}

function serviceTime(size: number): number {
  return ALPHA * size + BETA;
}
