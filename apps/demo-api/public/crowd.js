// @ts-check
import { drawSamples, readImages } from './api.js';
import { colour, element, prepare, show } from './elements.js';
import { listeners, serverNow } from './live.js';

/** @typedef {import('./api.js').Sample} Sample */
/** @typedef {import('./live.js').Batch} Batch */
/** @typedef {Sample & { read: number }} Misread */

/** Requests under way at once, more than any browser sends at once: it keeps the rest back itself. */
const CALLERS = 64;
/** Most samples in one answer of the server. */
const MOST_SAMPLES = 1000;
/** Misread digits that are shown. */
const MOST_MISREAD = 24;

const form = /** @type {HTMLFormElement} */ (element('crowd'));
const count = /** @type {HTMLInputElement} */ (element('count'));
const send = /** @type {HTMLButtonElement} */ (element('send'));
const progress = /** @type {HTMLProgressElement} */ (element('crowd-progress'));
const result = element('crowd-result');
const error = element('crowd-error');
const legend = /** @type {HTMLTemplateElement} */ (element('queue-template')).content;
const histogram = /** @type {HTMLCanvasElement} */ (element('crowd-histogram'));

/** How the last crowd was batched. @type {Batch[]} */
let batches = [];

/** Sends a chosen number of test digits at once, and shows how well they were read and how they were batched. */
export function startCrowd() {
  count.addEventListener('input', () => (element('count-shown').textContent = count.value));
  count.dispatchEvent(new Event('input'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void run(count.valueAsNumber, Number(new FormData(form).get('parcel')));
  });
  new ResizeObserver(drawHistogram).observe(histogram);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawHistogram);
}

/**
 * @param {number} size
 * @param {number} parcel digits in one request
 */
async function run(size, parcel) {
  send.disabled = true;
  show(error, '');
  progress.removeAttribute('value');
  progress.hidden = false;
  try {
    const samples = await draw(size);
    const stopListening = collectBatches();
    const start = performance.now();
    const { misread, failures } = await sendAll(samples, parcel);
    const took = performance.now() - start;
    batches = await stopListening();
    const answered = size - failures.length;
    if (failures[0])
      show(error, `${number(failures.length)} of ${number(size)} got no answer: ${failures[0].message}`);
    result.hidden = answered === 0;
    if (answered > 0) tell(answered, misread, took);
  } catch (reason) {
    result.hidden = true;
    show(error, /** @type {Error} */ (reason).message);
  }
  progress.hidden = true;
  send.disabled = false;
}

/** @param {number} size */
async function draw(size) {
  /** @type {Sample[]} */
  const samples = [];
  while (samples.length < size) {
    const seed = Math.floor(Math.random() * 2 ** 32);
    samples.push(...(await drawSamples(Math.min(size - samples.length, MOST_SAMPLES), seed)));
  }
  return samples;
}

/**
 * @param {Sample[]} samples
 * @param {number} parcel
 */
async function sendAll(samples, parcel) {
  /** @type {Misread[]} */
  const misread = [];
  /** @type {Error[]} one per digit without an answer */
  const failures = [];
  let [next, ended] = [0, 0];
  const call = async () => {
    while (next < samples.length) {
      const some = samples.slice(next, (next += parcel));
      try {
        const answers = await readImages(some.map(({ pixels }) => pixels));
        some.forEach((sample, i) => {
          if (answers[i].digit !== sample.label) misread.push({ ...sample, read: answers[i].digit });
        });
      } catch (reason) {
        failures.push(...some.map(() => /** @type {Error} */ (reason)));
      }
      progress.value = (ended += some.length) / samples.length;
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
  return { misread, failures };
}

/**
 * Begins to note the batches that leave.
 * @returns {() => Promise<Batch[]>} ends it, when the server has sent all that left before this call
 */
function collectBatches() {
  /** @type {Batch[]} */
  const collected = [];
  const { queue: digits } = element('queues').dataset;
  const start = serverNow();
  /** @param {{ batches: Batch[] }} live */
  const collect = (live) =>
    collected.push(...live.batches.filter(({ queue, at }) => queue === digits && at >= start));
  listeners.add(collect);
  return async () => {
    await Promise.race([new Promise((resolve) => listeners.add(once(resolve))), wait(2000)]);
    listeners.delete(collect);
    return collected;
  };
}

/** @param {(value?: unknown) => void} listener */
function once(listener) {
  const self = () => {
    listeners.delete(self);
    listener();
  };
  return self;
}

/** @param {number} milliseconds */
function wait(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * @param {number} answered
 * @param {Misread[]} misread
 * @param {number} took milliseconds
 */
function tell(answered, misread, took) {
  element('crowd-accuracy').textContent = `${((100 * (answered - misread.length)) / answered).toFixed(1)} %`;
  element('crowd-time').textContent = `${(took / 1000).toFixed(2)} s`;
  element('crowd-rate').textContent = number(Math.round((1000 * answered) / took));
  element('crowd-spoken').textContent =
    `${element('crowd-accuracy').textContent} of ${number(answered)} read right`;
  element('crowd-batches').textContent = describeBatches();
  drawHistogram();
  showMisread(misread);
}

function describeBatches() {
  if (batches.length === 0)
    return 'How they were batched is not known: there was no connection to the live view.';
  const inputs = sum(batches.map(({ size }) => size));
  const reasons = [...legend.querySelectorAll('span')].flatMap(({ dataset, textContent }) => {
    const amount = batches.filter(({ reason }) => reason === dataset.reason).length;
    return amount > 0 ? `${number(amount)} ${textContent}` : [];
  });
  const mean = (inputs / batches.length).toFixed(1);
  return `${number(batches.length)} batches of ${mean} digits on average: ${reasons.join(', ')}`;
}

/** How many batches had which size, coloured by why they left. */
function drawHistogram() {
  if (result.hidden) return;
  const { context, width, height } = prepare(histogram);
  const largest = Math.max(8, ...batches.map(({ size }) => size));
  /** @type {Map<string, number>[]} by size, then by reason */
  const bars = Array.from({ length: largest + 1 }, () => new Map());
  for (const { size, reason } of batches) bars[size].set(reason, (bars[size].get(reason) ?? 0) + 1);
  const highest = Math.max(1, ...bars.map((bar) => sum(bar.values())));
  const bottom = height - 16;
  const step = width / largest;

  bars.forEach((bar, size) => {
    let y = bottom;
    for (const [reason, amount] of bar) {
      const length = Math.max(1.5, (amount / highest) * (bottom - 4));
      context.fillStyle = colour(reason);
      context.fillRect((size - 1) * step + 0.5, y - length, Math.max(1, step - 1.5), length);
      y -= length;
    }
  });
  context.fillStyle = colour('line');
  context.fillRect(0, bottom, width, 1);
  context.fillStyle = colour('quiet');
  context.fillText('1', 0, height - 3);
  context.textAlign = 'right';
  context.fillText(`${largest} in a batch`, width, height - 3);
}

/** @param {Misread[]} misread */
function showMisread(misread) {
  const words = document.createElement('p');
  words.textContent = misread.length === 0 ? 'All were read right.' : `Read wrong, ${misread.length}:`;
  const rest = document.createElement('p');
  rest.textContent = misread.length > MOST_MISREAD ? `and ${misread.length - MOST_MISREAD} more` : '';
  element('crowd-misread').replaceChildren(words, ...misread.slice(0, MOST_MISREAD).map(thumbnail), rest);
}

/** @param {Misread} misread */
function thumbnail({ pixels, label, read }) {
  const figure = document.createElement('figure');
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 28;
  const image = new ImageData(28, 28);
  pixels.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  canvas.getContext('2d')?.putImageData(image, 0, 0);
  const caption = document.createElement('figcaption');
  caption.textContent = `${label} as ${read}`;
  figure.append(canvas, caption);
  return figure;
}

/** @param {Iterable<number>} values */
function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** @param {number} value */
function number(value) {
  return value.toLocaleString('en');
}
