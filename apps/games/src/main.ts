import 'reflect-metadata';
import { appendFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { progressBar } from '@app/figures';
import { listen, MetricsModule } from '@app/serving';
import { type INestApplicationContext, Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { startBackend, TfjsBackendError } from 'nest-batching/tfjs';
import { Games, GamesModule, type Progress, TARGET } from './games.js';
import { HELP, type Options, readOptions, UsageError } from './options.js';
import { learningCurve, replayPage, type Stage } from './pictures.js';
import { NetworkSettings, SESSIONS } from './policy-network.js';

/** About ten times what it takes. */
const MOST_STEPS = 1_000_000;
/** The replay shows the beginning, when these means were first reached, and the end. */
const STAGES = [20, 80];
const ROUNDS = 7;
const ROUND_MS = 300;

try {
  const options = readOptions(process.argv.slice(2));
  if (options) await main(options);
  else console.log(HELP);
} catch (error) {
  if (!(error instanceof UsageError || error instanceof TfjsBackendError)) throw error;
  console.error(`error: ${error.message}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

async function main(options: Options): Promise<void> {
  const { hidden, seed, backend, batchSize, metrics } = options;
  const { report } = await startBackend(backend);
  console.log(
    `${SESSIONS} games of CartPole, one network with 2 × ${hidden} hidden units (${report.backend}, ${report.device})`,
  );
  Logger.overrideLogger(['warn', 'error']);
  const app = await create(new NetworkSettings(hidden, seed), metrics);
  try {
    const games = app.get(Games);
    if (batchSize === undefined) await learn(games, options);
    else await compare(games, batchSize);
  } finally {
    // Stops the batched service, then frees the network.
    await app.close();
  }
}

/** @param port where the metrics are served, if at all */
async function create(settings: NetworkSettings, port: number | undefined): Promise<INestApplicationContext> {
  if (port === undefined) return NestFactory.createApplicationContext(GamesModule.with(settings));
  const app = await NestFactory.create(GamesModule.with(settings, [MetricsModule.forRoot()]));
  console.log(`Metrics: ${await listen(app, { host: '127.0.0.1', port })}/metrics`);
  return app;
}

async function learn(games: Games, { out }: Options): Promise<void> {
  const [curve, replay] = [join(out, 'learning-curve.svg'), join(out, 'replay.html')];
  await makeFolder(out, curve);
  const stages: Stage[] = [{ steps: 0, ...(await games.playGreedily()) }];
  const updates: Progress[] = [];
  const bar = progressBar(
    `{bar} return {mean} of ${TARGET} | {games} games | {rate} steps/s | batches of {batch}`,
  );
  const begin = performance.now();
  bar.start(TARGET, 0, { mean: 0, games: 0, rate: 0, batch: 0 });
  for await (const progress of games.train()) {
    updates.push(progress);
    const { steps, ended, mean, meanBatch } = progress;
    bar.update(Math.min(mean, TARGET), {
      mean: mean.toFixed(0),
      games: inWords(ended.length),
      rate: inWords((1000 * steps) / (performance.now() - begin)),
      batch: meanBatch.toFixed(1),
    });
    if (mean >= TARGET || steps >= MOST_STEPS) break;
    if (mean >= (STAGES[stages.length - 1] ?? Infinity))
      stages.push({ steps, ...(await games.playGreedily()) });
  }
  bar.stop();

  const { steps = 0, ended = [], mean = 0, meanBatch = 0 } = updates.at(-1) ?? {};
  const seconds = (performance.now() - begin) / 1000;
  console.log(
    `The last 100 games brought ${mean.toFixed(1)} on average, after ${inWords(ended.length)} games, ` +
      `${inWords(steps)} steps (${inWords(steps / seconds)} per second, in batches of ${meanBatch.toFixed(1)}), ` +
      `${updates.length} updates of the network and ${seconds.toFixed(1)} s`,
  );
  if (mean < TARGET) {
    console.error(`error: ${TARGET} was not reached; try another --seed, or a --hidden nearer to 64`);
    process.exitCode = 1;
  }

  const greedy = await games.playGreedily();
  const returns = greedy.games.map((observations) => observations.length - 1);
  console.log(
    `${returns.length} new games, played greedily: ${meanOf(returns).toFixed(1)} on average, ` +
      `from ${Math.min(...returns)} to ${Math.max(...returns)}, ` +
      `with ${inWords(greedy.runs)} runs of the network instead of ${inWords(sumOf(returns))}`,
  );
  stages.push({ steps, ...greedy });
  await writeFile(curve, learningCurve(updates));
  await writeFile(replay, await replayPage(stages, updates));
  console.log(`Written: ${curve}, and ${replay} to watch the games in a browser`);
}

/** Plays by turns with full batches and with small ones, since what else the machine does changes with time. */
async function compare(games: Games, batchSize: number): Promise<void> {
  console.log(`Environment steps per second with batches of ${SESSIONS} and of ${batchSize}, in turns:`);
  const ratios: number[] = [];
  // The first round warms up.
  for (let round = 0; round <= ROUNDS; round++) {
    const full = await games.measure(SESSIONS, ROUND_MS);
    const small = await games.measure(batchSize, ROUND_MS);
    if (round === 0) continue;
    ratios.push(full / small);
    console.log(
      `${inWords(full).padStart(10)}${inWords(small).padStart(10)}${(full / small).toFixed(1).padStart(8)} ×`,
    );
  }
  const [least, middle, most] = [0, ROUNDS >> 1, ROUNDS - 1].map((i) =>
    ratios.sort((a, b) => a - b)[i]?.toFixed(1),
  );
  console.log(`Batches of ${SESSIONS} play ${middle} times as fast (median; ${least} to ${most})`);
}

/** Tries to write as well, since it would be a pity to learn for nothing. */
async function makeFolder(path: string, file: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
    await appendFile(file, '');
  } catch (error) {
    throw new UsageError(
      `--out: expected a folder that can be written to, got '${path}' (${(error as Error).message})`,
    );
  }
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function meanOf(values: readonly number[]): number {
  return sumOf(values) / values.length;
}

function inWords(value: number): string {
  return Math.round(value).toLocaleString('en');
}
