import 'reflect-metadata';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { progressBar } from '@app/figures';
import { type Broker, NoBrokerError, openBroker } from './broker.js';
import { CALLERS, Cluster, type Totals } from './cluster.js';
import { HELP, type Options, readOptions, UsageError } from './options.js';

/** Somebody wants it to end. */
class InterruptedError extends Error {}

/** Aborts when the cluster has to end early: by a signal, or because a node has ended by itself. */
const early = new AbortController();
const endedEarly = once(early.signal, 'abort').then((): never => {
  throw early.signal.reason;
});
// Nobody may be waiting when it happens.
endedEarly.catch(() => undefined);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    early.abort(new InterruptedError(`ended by ${signal}`));
  });
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options) await main(options);
  else console.log(HELP);
} catch (error) {
  // What was waited for then fails in ways of its own.
  const first: unknown = early.signal.aborted ? early.signal.reason : error;
  const isExplained = [UsageError, NoBrokerError, InterruptedError].some((known) => first instanceof known);
  console.error(isExplained ? `error: ${(first as Error).message}` : first);
  process.exitCode = first instanceof UsageError ? 2 : 1;
}

async function main(options: Options): Promise<void> {
  const broker = await openBroker(options);
  const cluster = new Cluster(broker, (error) => {
    early.abort(error);
  });
  try {
    await run(cluster, broker, options);
  } finally {
    await cluster.stop();
    await broker.stop();
  }
}

async function run(cluster: Cluster, { transport, url }: Broker, { seconds, kills }: Options): Promise<void> {
  await Promise.race([cluster.start(), endedEarly]);
  // A URL may hold a password.
  console.log(
    `2 web nodes and 2 model nodes with the digits network (wasm), over ${transport} at ${new URL(url).host}; ` +
      `${2 * CALLERS} callers`,
  );
  const bar = progressBar(
    '{bar} {value}/{total} s | {answers} answers, lost {lost}, again {again}, gap {gap}, killed {killed}',
  );
  const began = performance.now();
  const killedAt: number[] = [];
  const elapsed = () => (performance.now() - began) / 1000;
  const until = (second: number) =>
    sleep(1000 * Math.max(0, second - elapsed()), undefined, { signal: early.signal });
  const shown = () => {
    const { answers, errors, redelivered, longestGap } = cluster.totals;
    return {
      answers: inWords(answers),
      lost: lostOf(errors),
      again: inWords(redelivered),
      gap: inSeconds(longestGap),
      killed: killedAt.length,
    };
  };
  bar.start(seconds, 0, shown());
  const drawing = setInterval(() => {
    bar.update(Math.min(seconds, Math.floor(elapsed())), shown());
  }, 200);
  cluster.send();
  try {
    for (let kill = 0; kill < kills; kill++) {
      // Evenly, and not before the node that replaces the last one has started: one of two lives at any time.
      await until((kill + 0.5) * (seconds / kills));
      killedAt.push(elapsed());
      await Promise.race([cluster.replaceModelNode(), endedEarly]);
    }
    await until(seconds);
    await Promise.race([cluster.finish(), endedEarly]);
  } finally {
    clearInterval(drawing);
    bar.update(seconds, shown());
    bar.stop();
  }
  printResult(cluster.totals, elapsed(), killedAt);
}

function printResult(totals: Totals, seconds: number, killedAt: readonly number[]): void {
  const { answers, right, errors, redelivered, longestGap, longestWait } = totals;
  const lost = lostOf(errors);
  const times = killedAt.map((each) => each.toFixed(1)).join(', ');
  if (killedAt.length > 0) console.log(`SIGKILLs of model nodes: ${killedAt.length}, after ${times} s`);
  console.log(
    `${inWords(answers)} answers in ${seconds.toFixed(1)} s: lost ${lost}, delivered again ${inWords(redelivered)}, ` +
      `longest gap ${inSeconds(longestGap)}, longest wait of a caller ${inSeconds(longestWait)}`,
  );
  console.log(`${((100 * right) / answers).toFixed(1)} % are the digit that MNIST says it is`);
  if (lost === 0) return;
  console.error(`error: ${lost} calls ended with an error: ${JSON.stringify(errors)}`);
  process.exitCode = 1;
}

function lostOf(errors: Readonly<Record<string, number>>): number {
  return Object.values(errors).reduce((total, count) => total + count, 0);
}

function inSeconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

function inWords(value: number): string {
  return value.toLocaleString('en');
}
