import { strict as assert } from 'node:assert';
import { BatchQueue, type BatchOptions } from 'nest-batching';
import { ALPHA, BETA, type HttpFigures, measureHttp, type Run, runs, type Submit } from './loads.js';
import { median, printTable, ratio } from './table.js';

type Dispatch = NonNullable<BatchOptions['dispatch']>;

const BATCH_SIZE = 32;
const CLIENTS = [1, 2, 4, 8, 16, 32, 64];
const ROUNDS = 9;
/** Share of the best setting's throughput that the default has to reach. */
const AIM = 0.98;

const queueOf =
  (options: { maxDelay: number; dispatch?: Dispatch }) =>
  (run: Run): Submit => {
    const queue = new BatchQueue(run, { batchSize: BATCH_SIZE, ...options });
    return (input) => queue.submit(input);
  };

/** What a user may set instead of the default, with the traffic known. */
const settings: Record<string, (run: Run) => Submit> = {
  eager: queueOf({ maxDelay: 10, dispatch: 'eager' }),
  'fixed, 1 ms': queueOf({ maxDelay: 1, dispatch: 'fixed' }),
  'fixed, 2 ms': queueOf({ maxDelay: 2, dispatch: 'fixed' }),
  'fixed, 3 ms': queueOf({ maxDelay: 3, dispatch: 'fixed' }),
};

/** Where the batch is formed decides what HTTP traffic gets out of it. */
const contenders: Record<string, (run: Run) => Submit> = {
  BatchQueue: queueOf({ maxDelay: 10 }),
  ...settings,
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

/** Clients that each send their next request when the answer is there, over loopback, from another thread. */
export async function benchHttp(): Promise<void> {
  for (const [kind, run] of Object.entries(runs)) {
    console.log(
      `\nHTTP, ${kind} batch function of ${ALPHA} ms · n + ${BETA} ms, batch size ${BATCH_SIZE}, ` +
        `median of ${ROUNDS} rounds of a second`,
    );
    const rows = [['clients', '', 'requests/s', 'mean batch', 'p50 ms', 'p99 ms', 'BatchQueue /']];
    const verdicts = [['clients', 'best setting', 'BatchQueue / best', '']];
    for (const clients of CLIENTS) {
      const figures = await measureSideBySide(run, clients);
      const ours = figures.get('BatchQueue') ?? [];
      for (const [name, rounds] of figures) {
        const of = (key: keyof HttpFigures) => median(rounds.map((round) => round[key]));
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
      verdicts.push([String(clients), ...againstBest(figures)]);
      const meanBatch = median(ours.map((round) => round.meanBatch));
      if (clients > 1)
        assert(meanBatch > 1, `mean batch ${meanBatch} at ${clients} clients: nothing was batched`);
    }
    printTable(rows);
    console.log(
      `\nThe setting that is best in every other round, compared in the rounds between; aim ${AIM}`,
    );
    printTable(verdicts);
  }
}

/** Chosen and compared in different rounds, since the best of several is best by luck, too. */
function againstBest(figures: Map<string, HttpFigures[]>): string[] {
  const rates = (name: string, parity: number) =>
    (figures.get(name) ?? []).filter((_, round) => round % 2 === parity).map(({ perSecond }) => perSecond);
  const [best = ''] = Object.keys(settings).sort((a, b) => median(rates(b, 0)) - median(rates(a, 0)));
  const [ours, theirs] = [rates('BatchQueue', 1), rates(best, 1)];
  const isMissed = ours.every((rate, round) => rate < AIM * (theirs[round] ?? NaN));
  return [best, ratio(ours, theirs), isMissed ? 'MISSED' : 'met'];
}

async function measureSideBySide(run: Run, clients: number): Promise<Map<string, HttpFigures[]>> {
  const figures = new Map(Object.keys(contenders).map((name) => [name, [] as HttpFigures[]]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, build] of Object.entries(contenders))
      figures.get(name)?.push(await measureHttp(build, run, clients));
  }
  return figures;
}
