// @ts-check
import { drawSamples, readImages, UnreachableError } from './api.js';
import { watchQueue } from './digit-queues.js';
import { colour, element, prepare, show, write } from './elements.js';
import { onReturn } from './queue.js';

/** @typedef {import('./api.js').Sample} Sample */
/** @typedef {import('./api.js').Journey} Journey */
/** @typedef {Sample & { read: number }} Misread */

/** Requests under way at once: as many as a browser sends, and two that can follow at once. */
const CALLERS = 8;
/** Most samples in one answer of the server. */
const MOST_SAMPLES = 1000;
/** Misread digits that are shown. */
const MOST_MISREAD = 24;
/** Why batches left, in the order of the legend. */
const REASONS = { size: 'full', delay: 'after the delay', idle: 'as a slot was free', drain: 'drained' };

const form = /** @type {HTMLFormElement} */ (element('crowd'));
const count = /** @type {HTMLInputElement} */ (element('count'));
const send = element('send');
const progress = /** @type {HTMLProgressElement} */ (element('crowd-progress'));
const result = element('crowd-result');
const error = element('crowd-error');
const status = element('crowd-status');
const histogram = /** @type {HTMLCanvasElement} */ (element('crowd-histogram'));

/** What ends the crowd that is sent, if one is. @type {AbortController | undefined} */
let sending;
/** The batches of the last crowd. @type {Pick<Journey, 'size' | 'reason'>[]} */
let batches = [];
let isUnreachable = false;

/** Sends a chosen number of test digits at once, and shows how well they were read and how they were batched. */
export function startCrowd() {
  count.addEventListener('input', () => (element('count-shown').textContent = count.value));
  count.dispatchEvent(new Event('input'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (sending) sending.abort();
    else void run(count.valueAsNumber, Number(new FormData(form).get('parcel')));
  });
  onReturn(() => {
    if (isUnreachable) show(error, '');
  });
  new ResizeObserver(drawHistogram).observe(histogram);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawHistogram);
}

/**
 * @param {number} size
 * @param {number} parcel digits in one request
 */
async function run(size, parcel) {
  sending = new AbortController();
  write(send, 'Cancel');
  watchQueue('digits');
  show(error, '');
  progress.removeAttribute('value');
  progress.hidden = false;
  write(status, 'Drawing digits…');
  isUnreachable = false;
  try {
    const samples = await draw(size, sending.signal);
    const start = performance.now();
    const { answered, misread, failures, journeys } = await sendAll(samples, parcel, sending);
    const took = performance.now() - start;
    const isCancelled = sending.signal.aborted && !isUnreachable;
    batches = [...new Map(journeys.map((journey) => [journey.batch, journey])).values()];
    if (failures[0]) {
      const unanswered = isUnreachable ? size - answered : failures.length;
      show(error, `${number(unanswered)} of ${number(size)} got no answer: ${failures[0].message}`);
    }
    write(status, isCancelled ? `Cancelled after ${number(answered)} of ${number(size)}.` : '');
    result.hidden = answered === 0;
    if (answered > 0) tell(answered, misread, took);
  } catch (reason) {
    const isCancelled = sending.signal.aborted;
    isUnreachable = reason instanceof UnreachableError;
    result.hidden = true;
    write(status, isCancelled ? 'Cancelled.' : '');
    if (!isCancelled) show(error, /** @type {Error} */ (reason).message);
  }
  sending = undefined;
  progress.hidden = true;
  write(send, 'Send');
}

/**
 * @param {number} size
 * @param {AbortSignal} signal
 */
async function draw(size, signal) {
  /** @type {Sample[]} */
  const samples = [];
  while (samples.length < size) {
    const seed = Math.floor(Math.random() * 2 ** 32);
    samples.push(...(await drawSamples(Math.min(size - samples.length, MOST_SAMPLES), seed, signal)));
  }
  return samples;
}

/**
 * @param {Sample[]} samples
 * @param {number} parcel
 * @param {AbortController} sending is aborted here when the server is gone: nobody else would get an answer
 */
async function sendAll(samples, parcel, sending) {
  const { signal } = sending;
  /** @type {Misread[]} */
  const misread = [];
  /** @type {Journey[]} */
  const journeys = [];
  /** @type {Error[]} one per digit without an answer */
  const failures = [];
  let [next, answered] = [0, 0];
  const call = async () => {
    while (next < samples.length && !signal.aborted) {
      const some = samples.slice(next, (next += parcel));
      try {
        const answers = await readImages(
          some.map(({ pixels }) => pixels),
          signal,
        );
        some.forEach((sample, i) => {
          journeys.push(answers[i].journey);
          if (answers[i].digit !== sample.label) misread.push({ ...sample, read: answers[i].digit });
        });
        answered += some.length;
      } catch (reason) {
        if (signal.aborted) return;
        failures.push(...some.map(() => /** @type {Error} */ (reason)));
        isUnreachable = reason instanceof UnreachableError;
        if (isUnreachable) sending.abort();
      }
      const ended = answered + failures.length;
      progress.value = ended / samples.length;
      write(status, `${number(ended)} of ${number(samples.length)}`);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
  return { answered, misread, failures, journeys };
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
  const inputs = sum(batches.map(({ size }) => size));
  const reasons = Object.entries(REASONS).flatMap(([reason, words]) => {
    const amount = batches.filter((batch) => batch.reason === reason).length;
    return amount > 0 ? [`${number(amount)} ${words}`] : [];
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
