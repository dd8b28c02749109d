import { strict as assert } from 'node:assert';
import { Module, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { BatchingModule, type Batched, BatchingRegistry, BatchQueue } from 'nest-batching';
import { getTfjsModelToken, type InferenceTimings, TfjsModule, type TfjsModel } from 'nest-batching/tfjs';
import { tokensOf, UNITS, VOCABULARY } from '../apps/writers/src/alphabet.js';
import { unevenTexts } from '../apps/writers/src/load.js';
import { BATCH_SIZE, Network, network, type Reading, type Step } from '../apps/writers/src/network.js';
import { sample } from '../apps/writers/src/sample.js';
import { StaticBatches, type TextRequest } from '../apps/writers/src/static-batches.js';
import { type Order, Writer } from '../apps/writers/src/writer.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import { median, printTable, ratio } from './table.js';

interface Effort {
  readonly rounds: number;
  readonly streams: readonly number[];
  /** Texts per stream. */
  readonly texts: number;
  readonly takes: string;
}

const FULL: Effort = { rounds: 5, streams: [1, 16, 64, 256], texts: 3, takes: 'five minutes' };
const QUICK: Effort = { rounds: 1, streams: [64], texts: 2, takes: 'ten seconds' };
/** One by one, so many texts are enough. */
const MOST_ALONE = 24;

/** Writes a text. `onText` is called with each character. */
type Write = (order: Order, onText: (text: string) => void) => Promise<void>;

/** What was measured in one run. */
interface Run {
  /** Characters per second. */
  readonly speed: number;
  /** Milliseconds from the moment at which a text was asked for to its first character, in ascending order. */
  readonly firsts: readonly number[];
  /** Milliseconds between two characters of a text, in ascending order. */
  readonly gaps: readonly number[];
  /** Streams that shared a step, on average. */
  readonly share: number;
}

@Module({
  imports: [
    BatchingModule.forRoot(),
    TfjsModule.forRoot({ backend: 'wasm', workers: 1 }),
    TfjsModule.forFeature([network(), { ...network(), name: 'alone', batchSizes: [1] }]),
  ],
  providers: [Network, Writer, StaticBatches],
})
class StreamsModule {}

/**
 * `npm run bench streams [quick]`: what the writers' network writes in continuous batches, for streams that each write one
 * uneven text after the other, against the same loops without batches, against static batches, and against a loop written by
 * hand around the network, the limit. All are held against each other's texts.
 */
export async function benchStreams(quick = false): Promise<void> {
  const { rounds, streams, texts, takes } = quick ? QUICK : FULL;
  console.log(
    `\nStreams: characters/s on wasm, steps of at most ${BATCH_SIZE}, median of ${rounds} rounds; about ${takes} in all`,
  );
  const options: Pick<NestApplicationOptions, 'logger'> = { logger: ['error', 'fatal'] };
  const app = await NestFactory.createApplicationContext(StreamsModule, options);
  const writer = app.get(Writer);
  const statics = app.get(BatchingRegistry).get('StaticBatches.write') as BatchQueue<TextRequest, unknown>;
  const padded = app.get<TfjsModel>(getTfjsModelToken('writers'));
  const alone = app.get<TfjsModel>(getTfjsModelToken('alone'));
  const network = new Network(padded);
  const oneByOne = oneByOneWriter(alone);
  const known = new Map<Order, string>();

  const rows = [
    [
      'streams',
      'continuous',
      'one by one',
      'static',
      'limit',
      'continuous / one by one',
      '/ static',
      '/ limit',
    ],
  ];
  const waits = [
    [
      'streams',
      'first p50',
      'p99',
      'static: first p50',
      'p99',
      'mean step',
      'p99 between characters / mean step',
      'limit: mean step',
      'p99 / mean step',
      'share a step (continuous / static / limit)',
    ],
  ];
  for (const count of streams) {
    const orders = unevenTexts(Math.max(count * texts, 8), 1);
    const runs = new Map<string, Run[]>();
    const add = (name: string, run: Run) => runs.set(name, [...(runs.get(name) ?? []), run]);
    // The first rounds warm the compiler up.
    for (let round = -2; round < rounds; round++) {
      const measured = {
        continuous: await measure(count, orders, new Recorder(known, padded), writeWith(writer)),
        'one by one': await measure(
          count,
          orders.slice(0, MOST_ALONE),
          new Recorder(known, alone),
          writeWith(oneByOne),
        ),
        static: await measure(count, orders, new Recorder(known, padded), writeStatic(statics)),
        limit: await byHand(count, orders, new Recorder(known, padded), network),
      };
      if (round < 0) continue;
      for (const [name, run] of Object.entries(measured)) add(name, run);
    }
    const of = (name: string) => runs.get(name) ?? [];
    const speeds = (name: string) => of(name).map(({ speed }) => speed);
    rows.push([
      String(count),
      ...['continuous', 'one by one', 'static', 'limit'].map((name) => median(speeds(name)).toFixed(0)),
      ...['one by one', 'static', 'limit'].map((name) => ratio(speeds('continuous'), speeds(name))),
    ]);
    const first = (name: string, share: number) =>
      `${median(of(name).map(({ firsts }) => quantile(firsts, share))).toFixed(1)} ms`;
    // The limit's says how even the machine is: no loop around the network can have a smaller one.
    const steps = (name: string) => {
      const means = of(name).map(({ gaps }) => gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length);
      const p99s = of(name).map(({ gaps }) => quantile(gaps, 0.99));
      return [`${median(means).toFixed(2)} ms`, ratio(p99s, means)];
    };
    waits.push([
      String(count),
      ...['continuous', 'static'].flatMap((name) => [first(name, 0.5), first(name, 0.99)]),
      ...steps('continuous'),
      ...steps('limit'),
      ['continuous', 'static', 'limit']
        .map((name) => median(of(name).map(({ share }) => share)).toFixed(1))
        .join(' / '),
    ]);
  }
  printTable(rows);
  console.log('\nTime from asking for a text to its first character, and between characters');
  printTable(waits);
  await app.close();
}

function writeWith(writer: Writer): Write {
  return async (order, onText) => {
    for await (const text of writer.write(order)) onText(text);
  };
}

/** The same loop over a method without batches, whose network runs at size 1. */
function oneByOneWriter(model: TfjsModel): Writer {
  const network = new Network(model);
  const queue = new BatchQueue((steps: readonly Step[]) => network.step(steps), {
    batchSize: 1,
    maxDelay: 0,
    maxQueued: Infinity,
  });
  return new Writer({ step: (step: Step) => queue.submit(step) } as unknown as Batched<Network>);
}

/** Resolves with the last character, when its reader asks for the next text; the batch goes on. */
function writeStatic(statics: BatchQueue<TextRequest, unknown>): Write {
  return (order, onText) =>
    new Promise((resolve, reject) => {
      let left = order.length;
      const count = (text: string) => {
        onText(text);
        if (--left === 0) resolve();
      };
      statics.submit({ order, onText: count }).catch(reject);
    });
}

/** Writes the texts, `count` at a time. */
async function measure(
  count: number,
  orders: readonly Order[],
  recorder: Recorder,
  write: Write,
): Promise<Run> {
  let next = 0;
  const stream = async () => {
    for (let order; (order = orders[next++]);) {
      const { onText, onEnd } = recorder.begin(order);
      await write(order, onText);
      onEnd();
    }
  };
  await Promise.all(Array.from({ length: count }, stream));
  return recorder.run;
}

/** A loop that is written for this: it keeps the streams in an array and takes the next ones from it for each step. */
async function byHand(
  count: number,
  orders: readonly Order[],
  recorder: Recorder,
  network: Network,
): Promise<Run> {
  const begin = (order: Order) => {
    const [token = 0, ...unread] = tokensOf(`\n${order.prompt}`);
    const state: Float32Array = new Float32Array(UNITS);
    return {
      order,
      token,
      unread,
      state,
      left: order.length,
      random: randomNumbers(order.seed),
      ...recorder.begin(order),
    };
  };
  const lines = orders.slice(0, count).map(begin);
  let next = lines.length;
  while (lines.length > 0) {
    const batch = lines.splice(0, BATCH_SIZE);
    const readings: Reading[] = await network.step(batch);
    for (const [i, { scores, state }] of readings.entries()) {
      const line = batch[i];
      assert(line);
      line.state = state;
      const read = line.unread.shift();
      if (read === undefined) {
        line.token = sample(scores, line.order.temperature, line.random());
        line.onText(VOCABULARY.charAt(line.token));
        line.left -= 1;
      } else {
        line.token = read;
      }
      if (line.left > 0) {
        lines.push(line);
        continue;
      }
      line.onEnd();
      const order = orders[next++];
      if (order) lines.push(begin(order));
    }
  }
  return recorder.run;
}

/** Takes the times of one run, and holds its texts against those of other runs. */
class Recorder {
  readonly #known: Map<Order, string>;
  readonly #model: TfjsModel;
  readonly #before: Pick<InferenceTimings, 'batches' | 'inputs'>;
  readonly #begin = performance.now();
  readonly #firsts: number[] = [];
  readonly #gaps: number[] = [];
  #characters = 0;

  constructor(known: Map<Order, string>, model: TfjsModel) {
    this.#known = known;
    this.#model = model;
    this.#before = model.timings;
  }

  begin(order: Order): { onText: (text: string) => void; onEnd: () => void } {
    let last = performance.now();
    let text = '';
    return {
      onText: (character) => {
        const now = performance.now();
        (text === '' ? this.#firsts : this.#gaps).push(now - last);
        last = now;
        text += character;
      },
      onEnd: () => {
        this.#characters += text.length;
        const known = this.#known.get(order);
        if (known === undefined) this.#known.set(order, text);
        else assert.equal(text, known, 'a text depends on its company');
      },
    };
  }

  get run(): Run {
    const speed = this.#characters / ((performance.now() - this.#begin) / 1000);
    const ascending = (values: number[]) => values.sort((a, b) => a - b);
    const { batches, inputs } = this.#model.timings;
    const share = (inputs - this.#before.inputs) / (batches - this.#before.batches);
    return { speed, firsts: ascending(this.#firsts), gaps: ascending(this.#gaps), share };
  }
}

function quantile(ascending: readonly number[], share: number): number {
  return ascending[Math.floor(share * ascending.length)] ?? NaN;
}
