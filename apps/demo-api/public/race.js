// @ts-check
import { race, UnreachableError } from './api.js';
import { watchQueue } from './digit-queues.js';
import { colour, element, prepare, show, write } from './elements.js';
import { onReturn } from './queue.js';

/** @typedef {import('./api.js').LaneName} LaneName */
/** @typedef {import('./api.js').RaceResult} RaceResult */

/** @type {LaneName[]} */
const LANES = ['oneByOne', 'batched'];
const NAMES = { oneByOne: 'one by one', batched: 'in batches' };
/** CSS pixels from one dot to the next. */
const DOT = 6;

const form = /** @type {HTMLFormElement} */ (element('race'));
const button = element('race-button');
const progress = /** @type {HTMLProgressElement} */ (element('race-progress'));
const words = element('race-words');
const error = element('race-error');
const lanes = { oneByOne: lane('oneByOne'), batched: lane('batched') };
const stillness = matchMedia('(prefers-reduced-motion: reduce)');

/** What ends the race that is measured, if one is. @type {AbortController | undefined} */
let running;
/** @type {RaceResult | undefined} */
let result;
/** Milliseconds of the race that are shown. */
let shown = 0;
/** @type {number | undefined} */
let playing;
let isUnreachable = false;

/** Lets one by one race against batched, and plays both side by side as they were measured. */
export function startRace() {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (running) running.abort();
    else if (playing !== undefined) finish();
    else void measure(Number(new FormData(form).get('callers')));
  });
  onReturn(() => {
    if (isUnreachable) show(error, '');
  });
  new ResizeObserver(draw).observe(lanes.oneByOne.canvas);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}

/** @param {number} callers */
async function measure(callers) {
  running = new AbortController();
  const { signal } = running;
  forget();
  write(button, 'Cancel');
  tellProgress('Starting…');
  try {
    result = await race(callers, signal, ({ lane: name, elapsed, time, digits }) => {
      watchQueue(name);
      const before = LANES.indexOf(name);
      progress.value = (before + elapsed / time) / LANES.length;
      tellProgress(
        `Measuring ${NAMES[name]}: ${seconds(elapsed)} of ${time / 1000} s, ${number(digits)} read`,
      );
    });
    running = undefined;
    play();
  } catch (reason) {
    running = undefined;
    isUnreachable = reason instanceof UnreachableError;
    if (!signal.aborted) show(error, /** @type {Error} */ (reason).message);
    rest(signal.aborted ? 'Cancelled.' : '');
  }
}

function forget() {
  result = undefined;
  shown = 0;
  show(error, '');
  write(element('race-spoken'), '');
  write(element('race-ratio'), '');
  draw();
}

/** @param {string} text */
function tellProgress(text) {
  progress.hidden = false;
  write(words, text);
}

/** @param {string} text */
function rest(text) {
  progress.hidden = true;
  progress.removeAttribute('value');
  write(words, text);
  write(button, result ? 'Race again' : 'Start the race');
}

/** Both lanes at once, at the speed at which they were measured one after the other. */
function play() {
  rest('');
  if (stillness.matches) {
    finish();
    return;
  }
  write(button, 'Skip');
  const start = performance.now();
  const next = () => {
    if (!result) return;
    shown = Math.min(result.time, performance.now() - start);
    if (shown === result.time) {
      finish();
      return;
    }
    draw();
    write(words, 'Played as it was measured');
    playing = requestAnimationFrame(next);
  };
  playing = requestAnimationFrame(next);
}

function finish() {
  if (!result) return;
  if (playing !== undefined) cancelAnimationFrame(playing);
  playing = undefined;
  shown = result.time;
  draw();
  const { callers, ratio, oneByOne, batched } = result;
  const times = `${ratio.toFixed(1)} × as fast`;
  write(element('race-ratio'), times);
  const size = `${callers} callers, batches of ${batched.meanBatch.toFixed(1)}.`;
  rest(ratio < 1.05 ? `Batching does not pay here. ${size}` : size);
  write(
    element('race-spoken'),
    `Batched is ${times}: ${number(batched.rate)} digits per second against ${number(oneByOne.rate)} one by one.`,
  );
}

function draw() {
  const most = Math.max(1, ...LANES.map((name) => result?.[name].digits ?? 0));
  write(element('race-clock'), `${(shown / 1000).toFixed(2)} s`);
  let each = 1;
  for (const name of LANES) {
    const { canvas, rate } = lanes[name];
    const { context, width, height } = prepare(canvas);
    const rows = Math.floor(height / DOT);
    const columns = Math.floor(width / DOT);
    each = roundUp(most / (rows * columns));
    const count = result ? readAt(result, name, shown) : 0;
    drawDots(context, 'track', { rows, count: rows * columns });
    drawDots(context, name === 'batched' ? 'size' : 'delay', { rows, count: Math.round(count / each) });
    write(rate, shown > 0 ? number((1000 * count) / shown) : '–');
  }
  write(
    element('race-scale'),
    result ? `A dot is ${each === 1 ? 'one digit' : `${number(each)} digits`}.` : '',
  );
}

/**
 * Column by column, with a pattern: thousands of dots one by one would be too slow for some machines.
 * @param {CanvasRenderingContext2D} context
 * @param {string} name of the colour
 * @param {{ rows: number, count: number }} dots
 */
function drawDots(context, name, { rows, count }) {
  const tile = document.createElement('canvas');
  const scale = Math.ceil(devicePixelRatio);
  tile.width = tile.height = DOT * scale;
  const pen = /** @type {CanvasRenderingContext2D} */ (tile.getContext('2d'));
  pen.fillStyle = colour(name);
  pen.fillRect(0, 0, (DOT - 2) * scale, (DOT - 2) * scale);
  const pattern = /** @type {CanvasPattern} */ (context.createPattern(tile, 'repeat'));
  pattern.setTransform(new DOMMatrix().scale(1 / scale));
  context.fillStyle = pattern;
  const full = Math.floor(count / rows);
  context.fillRect(0, 0, full * DOT, rows * DOT);
  context.fillRect(full * DOT, 0, DOT, (count % rows) * DOT);
}

/**
 * Digits that a lane had read at a time.
 * @param {RaceResult} result
 * @param {LaneName} name
 * @param {number} time
 */
function readAt(result, name, time) {
  const { read, digits } = result[name];
  if (time >= result.time) return digits;
  const step = Math.floor(time / result.step);
  const before = step === 0 ? 0 : read[step - 1];
  return before + (read[step] - before) * (time / result.step - step);
}

/**
 * The next of 1, 2, 5, 10, 20, 50, …
 * @param {number} value
 */
function roundUp(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((factor) => factor * power >= value) ?? 10);
}

/** @param {LaneName} name */
function lane(name) {
  const place = element(`lane-${name}`);
  return {
    canvas: /** @type {HTMLCanvasElement} */ (place.querySelector('canvas')),
    rate: /** @type {HTMLElement} */ (place.querySelector('b')),
  };
}

/** @param {number} milliseconds */
function seconds(milliseconds) {
  return (milliseconds / 1000).toFixed(1);
}

/** @param {number} value */
function number(value) {
  return Math.round(value).toLocaleString('en');
}
