import DataLoader from 'dataloader';
import { BatchQueue } from 'nest-batching';
import { Batcher } from 'promise-batcher';
import { measureBacklog, square, type Submit } from './loads.js';
import { median, printTable, ratio } from './table.js';

const BATCH_SIZE = 64;
const BACKLOGS = [64, 640, 6_400, 64_000];
const ROUNDS = 9;

/** What anybody writes first: an array, and a promise for each input. No bound, no delay, no failure is handled. */
function bareBatcher(): Submit {
  let open: { input: number; resolve: (result: number) => void }[] = [];
  const dispatch = async () => {
    const batch = open;
    open = [];
    const results = await square(batch.map(({ input }) => input));
    batch.forEach(({ resolve }, index) => {
      resolve(results[index] ?? NaN);
    });
  };
  return (input) =>
    new Promise((resolve) => {
      open.push({ input, resolve });
      if (open.length === BATCH_SIZE) void dispatch();
      else if (open.length === 1) setImmediate(() => void (open.length > 0 && dispatch()));
    });
}

const contenders: Record<string, () => Submit> = {
  BatchQueue: () => {
    const queue = new BatchQueue(square, { batchSize: BATCH_SIZE, maxDelay: 1, maxQueued: Infinity });
    return (input) => queue.submit(input);
  },
  'bare batcher': bareBatcher,
  DataLoader: () => {
    const loader = new DataLoader<number, number>(square, { maxBatchSize: BATCH_SIZE, cache: false });
    return (input) => loader.load(input);
  },
  'promise-batcher': () => {
    const batcher = new Batcher<number, number>({
      batchingFunction: (inputs) => square(inputs),
      maxBatchSize: BATCH_SIZE,
    });
    return (input) => batcher.getResult(input);
  },
};

/** Items per second of a queue that is given `backlog` inputs at once, again and again. */
export async function benchQueue(): Promise<void> {
  console.log(`\nIn-process: million items/s, batches of ${BATCH_SIZE}, median of ${ROUNDS} rounds`);
  const names = Object.keys(contenders);
  const rows = [['backlog', ...names, ...names.slice(1).map((name) => `BatchQueue / ${name}`)]];
  for (const backlog of BACKLOGS) {
    const speeds = new Map(names.map((name) => [name, [] as number[]]));
    for (let round = -2; round < ROUNDS; round++) {
      for (const [name, build] of Object.entries(contenders)) {
        const speed = await measureBacklog(build(), backlog);
        // The first rounds warm the compiler up.
        if (round >= 0) speeds.get(name)?.push(speed);
      }
    }
    const of = (name: string) => speeds.get(name) ?? [];
    rows.push([
      String(backlog),
      ...names.map((name) => median(of(name)).toFixed(2)),
      ...names.slice(1).map((name) => ratio(of('BatchQueue'), of(name))),
    ]);
  }
  printTable(rows);
}
