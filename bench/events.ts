import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import { BatchQueue } from 'nest-batching';
import { measureBacklog, square, type Submit } from './loads.js';
import { median, printTable, ratio } from './table.js';

const BATCH_SIZE = 64;
const BACKLOG = 640;
const ROUNDS = 15;
const CHECKS = 20_000_000;

const names = ['input:submit', 'input:end', 'batch:start', 'batch:end'].map(
  (name) => `nest-batching:${name}`,
);
const ignore = () => undefined;

const listeners: Record<string, readonly string[]> = {
  nothing: [],
  'nothing, again': [],
  batches: names.slice(2),
  'inputs and batches': names,
};

/** `npm run bench events`: what the events of `diagnostics_channel` cost, and what it costs that they exist. */
export async function benchEvents(): Promise<void> {
  console.log(`\nEvents: million items/s, batches of ${BATCH_SIZE}, backlog ${BACKLOG}, ${ROUNDS} rounds`);
  // First, while no channel has ever had a subscriber, as in a process without tracing.
  const check = measureCheck();
  const untouched = await measure([]);
  const speeds = new Map<string, number[]>();
  for (let round = -2; round < ROUNDS; round++) {
    for (const [name, channels] of Object.entries(listeners)) {
      const speed = await measure(channels);
      if (round >= 0) speeds.set(name, [...(speeds.get(name) ?? []), speed]);
    }
  }
  const of = (name: string) => speeds.get(name) ?? [];
  const rows = Object.keys(listeners).map((name) => [
    name,
    median(of(name)).toFixed(2),
    ratio(of(name), of('nothing')),
  ]);
  printTable([['what listens', 'million items/s', '/ nothing'], ...rows]);
  const item = 1000 / median(of('nothing'));
  console.log(
    `\nAsking whether something listens takes ${check.toFixed(2)} ns, once per input and three times per batch: ` +
      `${((100 * check * (1 + 3 / BATCH_SIZE)) / item).toFixed(2)} % of the ${item.toFixed(0)} ns that an input costs ` +
      `(${untouched.toFixed(2)} million items/s in the first, cold round)`,
  );
}

async function measure(channels: readonly string[]): Promise<number> {
  for (const name of channels) subscribe(name, ignore);
  const queue = new BatchQueue(square, { batchSize: BATCH_SIZE, maxDelay: 1, maxQueued: Infinity });
  const submit: Submit = (input) => queue.submit(input);
  const speed = await measureBacklog(submit, BACKLOG);
  for (const name of channels) unsubscribe(name, ignore);
  return speed;
}

/** Nanoseconds per check of a channel without subscribers. */
function measureCheck(): number {
  const silent = channel('nest-batching:input:submit');
  const times = Array.from({ length: 5 }, () => {
    let seen = 0;
    const begin = performance.now();
    for (let i = 0; i < CHECKS; i++) if (silent.hasSubscribers) seen++;
    const took = performance.now() - begin;
    if (seen > 0) throw new Error('something listens');
    return (1e6 * took) / CHECKS;
  });
  return median(times);
}
